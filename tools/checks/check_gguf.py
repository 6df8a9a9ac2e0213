#!/usr/bin/env python3
"""Writes small pruned models of several families as GGUF files and compares llama.cpp on them with galapagos:

    python tools/checks/check_gguf.py [--galapagos PROGRAM] [--output FOLDER] [--mixtures] [--tokenizers FOLDER]

For each family, tied and not, and each type of elements: the file passes the reader of the package gguf; llama.cpp loads it; its
log-probabilities of a text, and of its own likeliest tokens, are those of `galapagos eval --score` on the hf export, to within
LIMITS; what it continues greedily galapagos calls greedy but for ties; and it cuts texts into the ids of the tokenizer.
The first and the last layer lack attention, feed-forward part or both (ENDS), one between both, and heads are uneven over
KV heads. Mixtures of experts have layers that are alike but for their experts' widths, and such as have all experts, some, one
and none (EXPERTS); their files of other types than f32 are those that the package gguf makes of the f32 file.

--tokenizers: a folder of tokenizer.json files under any names, and texts.json, a list of texts: each tokenizer goes into a file
without much of a model, and llama.cpp's ids of the texts are compared with those of the package tokenizers.

Needs the packages llama-cpp-python, gguf, torch, safetensors and tokenizers. Exits with 1 if anything fails.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGUFReader, quants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
# Largest and mean difference of log-probabilities, by the type of elements; llama.cpp rounds activations to it, too.
LIMITS = {"f32": (1e-3, 1e-4), "f16": (0.1, 1e-2), "bf16": (0.8, 8e-2), "q8_0": (4.0, 0.3)}
FAMILIES, MIXTURES = ("llama", "qwen2", "qwen3"), ("mixtral", "qwen3_moe")
# Levels of 4 by layer of the models of make_family.py, less the first and the last one; 4 removes all.
FFN = (0, 1, 1, 0, 4, 1, 1, 0, 1)
ATTENTION = (0, 1, 2, 1, 4, 0, 1, 2, 1)
# What the first and the last layer lack: their levels of FFN and ATTENTION, and the types that such models are written in.
ENDS = {
    "attention,ffn": ((2, 4), (4, 3), tuple(LIMITS)),
    "ffn,attention": ((4, 3), (2, 4), ("f32", "q8_0")),
    "both,both": ((4, 4), (4, 4), ("f32", "q8_0")),
}
# Of mixtures, the experts that are left in each layer, and whether heads are pruned.
EXPERTS = {
    "columns": ((6,) * 11, False),
    "some": ((4,) * 11, False),
    "experts": ((6, 5, 6, 2, 3, 1, 0, 4, 2, 6, 3), False),
    "heads,experts": ((5, 6, 0, 2, 3, 6, 1, 6, 2, 6, 1), True),
}
UNIT_LEVELS = {"head": "0 16 48 80 128", "group": "0 32 64 96 128"}
POSITIONS, NEW_TOKENS, CANDIDATES = 48, 24, 3
TIE = 2e-2  # of two logits
HARD = ["", " ", "a", "  two  spaces ", "tabs\tand\nlines\r\n\r\n", "don't WE'LL", "1234567 3.14", "naïve café e\u0301",
        "日本語のテキスト", "🙂👩‍👩‍👧", "\u00a0\u3000x", "end\u200b", "x = [1, 2]; // y"]


def run(*words, check=True):
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if check and ended.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nended with code {ended.returncode}: {ended.stdout}{ended.stderr}")
    return ended


def untie(folder):
    """Gives the model an output head of its own."""
    import torch
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].float()
    noise = torch.randn(head.shape, generator=torch.Generator().manual_seed(2))
    tensors["lm_head.weight"] = (head * (1 + 0.02 * noise)).to(tensors["model.embed_tokens.weight"].dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def make_database(galapagos, output, family, tied, unit):
    """The folder of the unpruned model and its database."""
    name = f"{family}-{'tied' if tied else 'untied'}-{unit}"
    dense, database = output / f"{name}.unpruned", output / f"{name}.h5"
    run(sys.executable, ROOT / "tools/checks/make_family.py", ROOT / "tests/data/models/tiny", family, dense)
    if not tied:
        untie(dense)
    columns = 176 if family in MIXTURES else 352
    run(galapagos, "database", "--model", dense, "--calibration", ROOT / "tests/data/text/tiny_calibration.jsonl",
        "--calibration-tokens", 8192, "--attn-removed", UNIT_LEVELS[unit], "--ffn-removed", f"0 32 96 160 {columns}",
        "--attention-unit", unit, "--output", database)
    return dense, database


def make_pruned(galapagos, dense, database, pruned, first, last):
    """Writes the pruned model as hf, the levels of whose first and last layer are given."""
    ffn, attention = ((a, *between, b) for a, between, b in zip(first, (FFN, ATTENTION), last))
    write_pruned(galapagos, dense, database, pruned, attention,
                 [f"model.layers.{i}.mlp.down_proj: {level}" for i, level in enumerate(ffn)])


def make_pruned_mixture(galapagos, dense, database, pruned, experts, heads):
    """The same of a mixture that has so many experts left in its layers: the last ones, of different widths."""
    attention = (1, *ATTENTION, 2) if heads else (0,) * len(experts)
    lines = []
    for i, left in enumerate(experts):
        levels = [4 if e < 6 - left else (i + e) % 4 for e in range(6)]
        lines += [f"model.layers.{i}.mlp.experts.{e}.down_proj: {level}" for e, level in enumerate(levels)]
    write_pruned(galapagos, dense, database, pruned, attention, lines)


def write_pruned(galapagos, dense, database, pruned, attention, lines):
    lines += [f"model.layers.{i}.self_attn.o_proj: {level}" for i, level in enumerate(attention)]
    assignment = pruned.with_suffix(".txt")
    assignment.write_text("\n".join(lines) + "\n")
    run(galapagos, "stitch", "--model", dense, "--database", database, "--assignment", assignment, "--output", pruned)


def open_file(path, **options):
    return llama_cpp.Llama(str(path), n_ctx=512, n_batch=512, logits_all=True, verbose=False, type_k=0, type_v=0, n_threads=2,
                           **options)


def logits_of(model, ids):
    model.reset()
    model.eval(ids)
    return np.array(model.scores[:len(ids)], dtype=np.float64)


def log_softmax(logits):
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def scores(galapagos, model, requests):
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "requests.jsonl", Path(folder) / "scores.jsonl"
        asked.write_text("".join(json.dumps({"context": a, "continuation": b}) + "\n" for a, b in requests))
        run(galapagos, "eval", "--model", model, "--score", asked, "--scores", answered, "--precision", "fp32")
        return list(map(json.loads, answered.read_text().splitlines()))


def compare(galapagos, pruned, path, text_ids, limits):
    """What differs, in words, and the largest and the mean difference of log-probabilities."""
    model = open_file(path)
    logs = log_softmax(logits_of(model, text_ids))
    requests, found = [], []
    for place in range(1, len(text_ids)):
        best = np.argsort(-logs[place - 1])[:CANDIDATES].tolist()
        for token in dict.fromkeys([text_ids[place], *best]):
            requests.append((text_ids[:place], [int(token)]))
            found.append(logs[place - 1, token])
    answers = [score["logprob"] for score in scores(galapagos, pruned, requests)]
    differences = np.abs(np.array(answers) - np.array(found))
    worst, mean = float(differences.max()), float(differences.mean())
    faults = [] if worst < limits[0] and mean < limits[1] else ["log-probabilities differ"]
    ids, least = list(text_ids[:12]), np.inf
    for _ in range(NEW_TOKENS):
        last = np.sort(logits_of(model, ids)[-1])
        least = min(least, last[-1] - last[-2])
        ids.append(int(np.argmax(model.scores[len(ids) - 1])))
    greedy = scores(galapagos, pruned, [(ids[:12], ids[12:])])[0]["greedy"]
    if not greedy and least > max(TIE, 2 * limits[0]):
        faults.append(f"galapagos does not call greedy what llama.cpp continues; logits are {least:.1e} apart")
    return faults, worst, mean


def other_elements(path, plain):
    """Tensors that are not what the package gguf makes of those of the f32 file, with zeros up to their shapes."""
    exact = {tensor.name: tensor for tensor in GGUFReader(plain).tensors}
    different = []
    for tensor in GGUFReader(path).tensors:
        values = np.zeros(tensor.shape[::-1], dtype=np.float32)
        whole = exact[tensor.name].data
        values[tuple(slice(extent) for extent in whole.shape)] = whole
        if not np.array_equal(quants.quantize(values, tensor.tensor_type).view(np.uint8), tensor.data.view(np.uint8)):
            different.append(tensor.name)
    return [f"other elements in {len(different)} tensors, as {different[0]}"] if different else []


def llama_ids(model, text):
    if not text:
        return []
    return model.tokenize(text.encode(), add_bos=False, special=True)


def same_ids(path, tokenizer, texts):
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    different = [text for text in texts if llama_ids(model, text) != tokenizer.encode(text, add_special_tokens=False).ids]
    return [f"other ids for {len(different)} of {len(texts)} texts, as {different[0][:40]!r}"] if different else []


def check_models(galapagos, output, mixtures_alone):
    failed = 0
    documents = (ROOT / "tests/data/text/tiny_calibration.jsonl").open()
    texts = [json.loads(line)["text"] for _, line in zip(range(40), documents)]
    for family, tied, unit in itertools.product([] if mixtures_alone else FAMILIES, (True, False), UNIT_LEVELS):
        dense, database = make_database(galapagos, output, family, tied, unit)
        for ends, (first, last, kinds) in ENDS.items():
            pruned = output / f"{database.stem}-{ends}"
            make_pruned(galapagos, dense, database, pruned, first, last)
            for kind in kinds:
                failed += not check_file(galapagos, pruned, kind, texts)
    for family, tied in itertools.product(MIXTURES, (True, False)):
        dense, database = make_database(galapagos, output, family, tied, "head")
        for name, (experts, heads) in EXPERTS.items():
            pruned = output / f"{database.stem}-{name}"
            make_pruned_mixture(galapagos, dense, database, pruned, experts, heads)
            for kind in LIMITS:
                failed += not check_file(galapagos, pruned, kind, texts)
    return failed


def check_file(galapagos, pruned, kind, texts):
    """Writes the model with elements of a type, and says whether all is as it should be."""
    tokenizer = Tokenizer.from_file(str(pruned / "tokenizer.json"))
    text_ids = next(ids for ids in (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
                    if len(ids) >= POSITIONS)[:POSITIONS]
    folder = pruned.with_name(f"{pruned.name}.{kind}")
    log = run(galapagos, "stitch", "--model", pruned, "--format", "gguf", "--gguf-type", kind, "--output", folder)
    path = folder / "model.gguf"
    architecture = bytes(GGUFReader(path).fields["general.architecture"].parts[-1]).decode()
    # Which experts a token goes to is decided by roundings where routers are random: of rounded mixtures what is rounded counts.
    rounded_mixture = kind != "f32" and pruned.name.startswith(MIXTURES)
    faults, worst, mean = compare(galapagos, pruned, path, text_ids, (np.inf, np.inf) if rounded_mixture else LIMITS[kind])
    if rounded_mixture:
        faults += other_elements(path, pruned.with_name(f"{pruned.name}.f32") / "model.gguf")
    faults += same_ids(path, tokenizer, texts + HARD)
    added = [line for line in log.stderr.splitlines() if "zeros and copies" in line]
    share = added[0].rsplit("(", 1)[1].split(")")[0] if added else "0 %"
    print(f"{pruned.name:33} {kind:5} {architecture:8} zeros and copies {share:>7}  "
          f"log-probabilities within {worst:.1e}, {mean:.1e} in the mean  {'; '.join(faults) or 'ok'}", flush=True)
    return not faults


def check_tokenizers(galapagos, output, folder):
    """How many of the tokenizers come over; others are refused by name or differ."""
    texts = json.loads((folder / "texts.json").read_text())
    counts = {}
    for file in sorted(folder.glob("*.json")):
        if file.name == "texts.json":
            continue
        model = output / f"tokenizer.{file.stem}"
        model.mkdir()
        shutil.copy(file, model / "tokenizer.json")
        tokenizer = Tokenizer.from_file(str(file))
        ids = max(tokenizer.get_vocab().values()) + 1
        write_empty_model(model, ids)
        written = run(galapagos, "stitch", "--model", model, "--format", "gguf", "--output", output / f"gguf.{file.stem}", check=False)
        if written.returncode != 0:
            result, said = "refused", written.stderr.strip().splitlines()[-1]
        else:
            faults = same_ids(output / f"gguf.{file.stem}" / "model.gguf", tokenizer, texts)
            result, said = ("different", faults[0]) if faults else ("same", f"{len(texts)} texts")
        counts[result] = counts.get(result, 0) + 1
        print(f"{file.name:28} {result:9} {said}", flush=True)
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))


def write_empty_model(folder, ids):
    import torch
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 32,
              "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": ids,
              "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
              "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens": (ids, 32), "model.norm": (32,)}
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
                 "mlp.down_proj"):
        shapes[f"model.layers.0.{name}"] = (32, 32)
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes[f"model.layers.0.{name}"] = (32,)
    save_file({f"{name}.weight": torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()},
              folder / "model.safetensors", metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galapagos", type=Path, default=ROOT / "build/release/src/app/galapagos")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--tokenizers", type=Path)
    parser.add_argument("--mixtures", action="store_true", help="check mixtures of experts alone")
    arguments = parser.parse_args()
    output = arguments.output or Path(tempfile.mkdtemp())
    output.mkdir(parents=True, exist_ok=True)
    if arguments.tokenizers:
        return check_tokenizers(arguments.galapagos, output, arguments.tokenizers)
    sys.exit(1 if check_models(arguments.galapagos, output, arguments.mixtures) else 0)


if __name__ == "__main__":
    main()
