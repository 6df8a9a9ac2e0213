#!/usr/bin/env python3
"""Has lm-evaluation-harness run a task that generates, on its own model `hf` and on tools/lm_eval_galapagos.py, and compares
them token by token:

    python tools/checks/check_lm_eval.py DIR [--text FILE.jsonl] [--galapagos PROGRAM] [--questions N] [--trust]

DIR: a model as transformers loads it; --trust where that needs the code in the folder. The task is written here, after gsm8k:
a few examples in front, stop words, an answer that a regular expression takes out of the text; its questions are beginnings of
the documents of --text, its answers the words that come next. It runs with examples and without, with stop words that come
soon, late and never, in one batch and one by one. Both sides have to be asked the same ids, write the same, and get the same
texts and scores (how often the next word is right). Where they part, it is forgiven, and printed, only if the two best logits of `hf` are within 1e-4 there.
Also what is done in two steps (--write-prompts, then --texts) is compared.

Needs lm_eval, torch and transformers. Exits with 1 if anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval_galapagos import GalapagosLM

TIE = 1e-4
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}/test.jsonl
    train: {data}/train.jsonl
test_split: test
fewshot_split: train
fewshot_config:
  sampler: first_n
num_fewshot: {examples}
output_type: generate_until
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: {until}
  max_gen_toks: {most}
  do_sample: false
  temperature: 0.0
filter_list:
  - name: next-words
    filter:
      - function: regex
        regex_pattern: "([A-Za-z][A-Za-z ,]*)"
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    regexes_to_ignore: ["(?s)[^A-Za-z].*"]  # all but the first word
"""
# Examples in front, stop words, most tokens.
TASKS = {
    "soon": (2, ["\n", ".", "Question:"], 48),
    "late": (1, ["\n\n", "Question:"], 64),
    "never": (0, ["#### no such word"], 40),
}


class RecordingLM(HFLM):
    """`hf` that keeps the ids that it wrote behind each prompt, padding removed."""

    def __init__(self, *words, **settings):
        super().__init__(*words, **settings)
        self.written = {}

    def _model_generate(self, context, max_length, stop, **settings):
        result = super()._model_generate(context, max_length, stop, **settings)
        mask = settings["attention_mask"].bool()
        for row, there, out in zip(context, mask, result):
            self.written[tuple(row[there].tolist())] = out[context.shape[1]:].tolist()
        return result

    def gap(self, ids):
        """How far the two best logits behind `ids` are apart."""
        with torch.no_grad():
            best = self.model(torch.tensor([ids])).logits[0, -1].float().topk(2).values
        return float(best[0] - best[1])


def write_tasks(folder, text, questions):
    documents = [json.loads(line)["text"].split() for line in text.open(encoding="utf-8")]
    documents = [words for words in documents if len(words) > 30][:questions + 4]
    for name, some in (("train", documents[:4]), ("test", documents[4:])):
        lines = [json.dumps({"question": " ".join(words[:8 + i % 9]), "answer": " ".join(words[8 + i % 9:][:6])})
                 for i, words in enumerate(some)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name, (examples, until, most) in TASKS.items():
        (folder / f"{name}.yaml").write_text(
            TASK.format(name=name, data=folder, examples=examples, until=json.dumps(until), most=most))
    return len(documents) - 4


def evaluate(model, name, folder):
    found = lm_eval.simple_evaluate(model=model, tasks=[name], task_manager=TaskManager(include_path=str(folder), include_defaults=False),
                                    log_samples=True, bootstrap_iters=0)
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    return [sample["resps"][0][0] for sample in samples], found["results"][name]["exact_match,next-words"]


def first_difference(ours, theirs, until, decode):
    """The place where ids differ, or None; `hf` alone may write on behind a stop word, as it does in a batch."""
    for place, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            return place
    if len(ours) == len(theirs):
        return None
    if len(ours) > len(theirs):
        return len(theirs)
    ended = any(word in decode(ours, skip_special_tokens=False) for word in until)
    return None if ended else len(ours)


def compare(ours, theirs, until, eos):
    """Of two tables from prompts to what was written: faults, ties and the number of tokens that are the same."""
    if set(ours) != set(theirs.written):
        return [f"other prompts: {len(set(ours) ^ set(theirs.written))} of one side alone"], 0, 0
    faults, ties, same = [], 0, 0
    decode = theirs.tokenizer.decode
    for prompt, mine in ours.items():
        his = theirs.written[prompt]
        mine, his = ([id for id in ids[:ids.index(eos)]] if eos in ids else list(ids) for ids in (mine, his))
        place = first_difference(mine, his, until, decode)
        same += min(len(mine), len(his)) if place is None else place
        if place is None:
            continue
        gap = theirs.gap([*prompt, *his[:place]])
        if gap < TIE:
            ties += 1
            print(f"TIE: the two best logits are {gap:.1e} apart")
        else:
            faults.append(f"token {place} of a text differs, logits are {gap:.1e} apart: "
                          f"{decode(mine)!r} and {decode(his)!r}")
    return faults, ties, same


def in_two_steps(arguments, folder, name):
    """The results of a task whose texts are written by the program alone, from the adapter's command line."""
    adapter, output = ROOT / "tools/lm_eval_galapagos.py", folder / f"results.{name}"
    prompts, texts = folder / f"prompts.{name}.jsonl", folder / f"texts.{name}.jsonl"
    rest = ["--", "--tasks", name, "--include_path", folder, "--output_path", output, "--log_samples"]
    steps = [[sys.executable, adapter, "--model", arguments.folder, "--write-prompts", prompts, *rest],
             [arguments.galapagos, "generate", "--model", arguments.folder, "--prompts", prompts, "--output", texts,
              "--precision", "fp32"],
             [sys.executable, adapter, "--model", arguments.folder, "--prompts", prompts, "--texts", texts, *rest]]
    for step in steps:
        ended = subprocess.run(list(map(str, step)), capture_output=True, text=True)
        if ended.returncode != 0:
            sys.exit(f"{' '.join(map(str, step))}\nended with code {ended.returncode}: {ended.stderr[-3000:]}")
    file = max(output.rglob(f"samples_{name}_*.jsonl"), key=lambda one: one.stat().st_mtime)
    samples = sorted(map(json.loads, file.read_text().splitlines()), key=lambda sample: sample["doc_id"])
    return [sample["resps"][0][0] for sample in samples]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--text", type=Path, default=ROOT / "tests/data/text/tiny_heldout.jsonl", metavar="FILE.jsonl")
    parser.add_argument("--galapagos", type=Path, default=ROOT / "build/release/src/app/galapagos", metavar="PROGRAM")
    parser.add_argument("--questions", type=int, default=24, metavar="N")
    parser.add_argument("--trust", action="store_true")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_tasks(folder, arguments.text, arguments.questions)
        settings = {"pretrained": str(arguments.folder), "device": "cpu", "dtype": "float32",
                    "trust_remote_code": arguments.trust}
        for task, (_, until, _) in TASKS.items():
            ours = GalapagosLM(model=arguments.folder, program=arguments.galapagos, options="--precision fp32", folder=folder)
            texts, score = evaluate(ours, task, folder)
            written = {key[0]: ids for key, ids in ours._texts.items()}
            for batch in (1, count):
                theirs = RecordingLM(**settings, batch_size=batch)
                expected, right = evaluate(theirs, task, folder)
                faults, ties, same = compare(written, theirs, until, theirs.tokenizer.eos_token_id)
                if not ties and texts != expected:
                    faults.append(f"{sum(a != b for a, b in zip(texts, expected))} other texts")
                if not ties and score != right:
                    faults.append(f"another score: {score} and {right}")
                print(f"{task:6} batch {batch:3}: {len(texts)} answers, {same} tokens alike, exact_match {score:.3f} and "
                      f"{right:.3f}  {'; '.join(faults) or 'ok'}", flush=True)
                failed |= bool(faults)
            apart = in_two_steps(arguments, folder, task) != texts
            print(f"{task:6} in two steps: {'other texts' if apart else 'ok'}", flush=True)
            failed |= apart
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
