#!/usr/bin/env python3
"""Checks that databases go to DarwinLM's files and back: with torch, by which DarwinLM's programs read and write them, and h5py.

    python tools/checks/check_darwinlm.py [--galapagos PROGRAM] [--model DIR] [--text FILE]

Out: makes a database, converts it, loads every file with torch.load(weights_only=True), also mapped, and compares it with the
database, word by word; metadata.pth likewise. In: has torch write a folder as DarwinLM's struct_prune.py does, with weights of
its own making, converts it, compares the database with these, and stitches an assignment of mixed levels with zeros
(`--format dense`), whose o_proj and down_proj have to be the folder's own files. Exits with 1 where anything differs. Needs
torch, h5py, safetensors and numpy.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
failed = False


def check(what, fine):
    global failed
    failed = failed or not fine
    print(f"{'ok  ' if fine else 'FAIL'} {what}")


def run(arguments, *words):
    subprocess.run([arguments.galapagos, *map(str, words)], check=True, capture_output=not arguments.verbose)


def bits(tensor):
    return tensor.contiguous().view(torch.uint8).numpy()


class Database:
    """What is in our file, read by h5py alone."""

    def __init__(self, path):
        self.file = h5py.File(path)
        self.config = json.loads(self.text("model_config"))
        self.dtype = TYPES[self.text("dtype")]
        heads = self.config["num_attention_heads"]
        head_dim = self.config.get("head_dim") or self.config["hidden_size"] // heads
        assert self.text("attention_unit") == "head"
        self.widths = {"attn": (heads * head_dim, head_dim), "ffn": (self.config["intermediate_size"], 1)}

    def text(self, name):
        value = self.file.attrs[name]
        return value.decode() if isinstance(value, bytes) else str(value)

    def modules(self):
        for layer in range(self.config["num_hidden_layers"]):
            yield layer, "attn", f"model.layers.{layer}.self_attn.o_proj"
            yield layer, "ffn", f"model.layers.{layer}.mlp.down_proj"

    def removed(self, kind):
        return list(self.file[f"/levels/{kind}"])

    def dense(self, layer, kind, level):
        """The weight of a level with zeros in place of what is gone."""
        columns, unit = self.widths[kind]
        group = self.file[f"/modules/{layer}/{kind}"]
        gone = set(group["order"][: self.removed(kind)[level]].tolist())
        kept = [c for c in range(columns) if c // unit not in gone]
        weight = torch.zeros(columns, self.config["hidden_size"], dtype=self.dtype)
        rows = group[f"level_{level}/weight"][:]
        rows = torch.from_numpy(rows.view(np.int16)).view(self.dtype) if self.dtype != torch.float32 else torch.from_numpy(rows)
        weight[kept] = rows.reshape(len(kept), self.config["hidden_size"])
        return weight.t()


def check_out(arguments, folder, model):
    run(arguments, "database", "--model", arguments.model, "--calibration", arguments.text, "--calibration-tokens", 3000,
        "--sequence-length", 128, "--levels", 4, "--output", folder / "x.h5")
    run(arguments, "convert", "--model", arguments.model, "--database", folder / "x.h5", "--output", folder / "out")
    database = Database(folder / "x.h5")
    same = True
    for layer, kind, name in database.modules():
        for level in range(len(database.removed(kind))):
            path = folder / "out" / name / f"{level}.pth"
            expected = database.dense(layer, kind, level) if level else model[name + ".weight"]
            for mapped in (False, True):
                found = torch.load(path, weights_only=True, mmap=mapped)
                same = same and found.dtype == expected.dtype and np.array_equal(bits(found), bits(expected))
    check("torch loads every level that was written, with the database's words", same)
    metadata = torch.load(folder / "out" / "metadata.pth", weights_only=True)
    expected = {f"cols_removed_{theirs}": [int(n) * database.widths[ours][1] for n in database.removed(ours)]
                for theirs, ours in (("attn", "attn"), ("mlp", "ffn"))}
    check("metadata.pth holds the removed columns", metadata == expected)


def write_as_darwinlm(folder, model, database):
    """What struct_prune.py writes: nested zeros, one random order per module, and weights changed at every level."""
    torch.manual_seed(3)
    for layer, kind, name in database.modules():
        columns, unit = database.widths[kind]
        order = torch.randperm(columns // unit)
        weight = model[name + ".weight"]
        (folder / name).mkdir(parents=True)
        for level, removed in enumerate(database.removed(kind)):
            if level:
                gone = (order[:removed, None] * unit + torch.arange(unit)).flatten()
                weight = (weight.float() * (1 + 0.1 * torch.randn(weight.shape))).to(weight.dtype)
                weight[:, gone] = 0
            torch.save(weight.clone().cpu(), folder / name / f"{level}.pth")
    torch.save({"cols_removed_attn": [int(n) * database.widths["attn"][1] for n in database.removed("attn")],
                "cols_removed_mlp": [int(n) for n in database.removed("ffn")]}, folder / "metadata.pth")


def check_in(arguments, folder, model):
    write_as_darwinlm(folder / "theirs", model, Database(folder / "x.h5"))
    run(arguments, "convert", "--model", arguments.model, "--darwinlm", folder / "theirs", "--output", folder / "y.h5")
    run(arguments, "info", folder / "y.h5", "--verify")
    database = Database(folder / "y.h5")

    def theirs(name, level):
        return torch.load(folder / "theirs" / name / f"{level}.pth", weights_only=True)

    check("h5py finds what torch has written", all(
        np.array_equal(bits(database.dense(layer, kind, level)), bits(theirs(name, level)))
        for layer, kind, name in database.modules() for level in range(1, len(database.removed(kind)))))
    levels = {name: i % len(database.removed(kind)) for i, (_, kind, name) in enumerate(database.modules())}
    groups = sorted(levels, key=lambda name: "o_proj" in name)  # as DarwinLM writes it, without a newline at the end
    (folder / "a.txt").write_text("\n".join(f"{name}: {levels[name]}" for name in groups))
    run(arguments, "stitch", "--model", arguments.model, "--database", folder / "y.h5", "--assignment", folder / "a.txt",
        "--format", "dense", "--output", folder / "dense")
    stitched = {}
    for path in (folder / "dense").glob("*.safetensors"):
        stitched.update(load_file(path))
    check("the stitched model has the files' weights",
          all(np.array_equal(bits(stitched[name + ".weight"]), bits(theirs(name, level))) for name, level in levels.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galapagos", type=pathlib.Path, default=ROOT / "build/release/src/app/galapagos", metavar="PROGRAM")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "tests/data/models/llama3_tiny", metavar="DIR")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "tests/data/text/sample.jsonl", metavar="FILE")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    model = {}
    for path in arguments.model.glob("*.safetensors"):
        model.update(load_file(path))
    with tempfile.TemporaryDirectory() as folder:
        check_out(arguments, pathlib.Path(folder), model)
        check_in(arguments, pathlib.Path(folder), model)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
