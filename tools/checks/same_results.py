#!/usr/bin/env python3
"""Runs the same commands with two programs and compares all that they write, bit for bit.

    python3 tools/checks/same_results.py OLD_GALAPAGOS NEW_GALAPAGOS --output FOLDER

For the small models of tests/data: sensitivities, a database, a search, one that trains its candidates on two shards,
models stitched in both formats and refitted, training on one and two ranks and from random weights, distillation, an
evaluation and a plan. Names of versions, dates and times are left out; so are the Python files that go with a model,
unless --python is given. Needs numpy and h5py. Ends with 1 where anything differs.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
MODELS = ("tiny", "llama3_tiny", "qwen2_tiny", "qwen3_tiny")
TIMES = re.compile(rb'"(elapsed|seconds|tokens_per_second|switch|layers|head|wait|training|[a-z_]*_seconds)":[^,}]*')
VERSION = re.compile(rb"[0-9.]+ \([0-9a-f]{12}(-dirty)?\)")
DATE = re.compile(rb"20\d\d-\d\d-\d\d[T ][0-9:]+Z?")


def commands(model: str, out: Path) -> list[tuple[int, list[str]]]:
    """Ranks, and words, of each."""
    folder, text = str(DATA / "models" / model), str(DATA / "text/tiny_calibration.jsonl")
    short = ["--sequence-length", "64"]
    read = ["--model", folder, "--calibration", text, *short]
    search = ["search", *read, "--calibration-tokens", "4096", "--database", f"{out}.h5", "--seed", "3",
              "--target-sparsity", "0.5", "--islands", "2", "--offspring", "4", "--survivors", "2 1", "--tokens", "256 512"]
    stitch = ["stitch", "--model", folder, "--database", f"{out}.h5", "--assignment", f"{out}.search/best.txt"]
    learn = ["train", "--model", f"{out}.hf", "--data", text, *short, "--step-tokens", "512"]
    taught = ["--reference", folder, "--tokens", "2048"]
    return [
        (1, ["sensitivity", *read, "--calibration-tokens", "2048", "--output", f"{out}.s.h5"]),
        (1, ["database", *read, "--calibration-tokens", "4096", "--levels", "5", "--sensitivity", f"{out}.s.h5",
             "--output", f"{out}.h5"]),
        (1, [*search, "--generations", "3", "--output", f"{out}.search"]),
        (2, [*search, "--generations", "2", "--shards", "2", "--training-tokens", "128 256", "--output", f"{out}.tuned"]),
        (1, [*stitch, "--format", "hf", "--output", f"{out}.hf"]),
        (1, [*stitch, "--format", "dense", "--output", f"{out}.dense"]),
        (1, [*stitch, "--refit", "0.3", "--calibration", text, *short, "--calibration-tokens", "4096",
             "--output", f"{out}.refit"]),
        (1, [*learn, *taught, "--output", f"{out}.train"]),
        (2, [*learn, *taught, "--shards", "2", "--precision", "fp32", "--output", f"{out}.shards"]),
        (1, [*learn, "--random-weights", "--tokens", "1024", "--output", f"{out}.scratch"]),
        (1, ["distil", "--model", f"{out}.hf", "--reference", folder, "--data", text, *short, "--tokens", "2048",
             "--output", f"{out}.distil"]),
        (1, ["eval", "--model", f"{out}.train/model", "--reference", folder, "--data", text, *short, "--json"]),
        (1, ["plan", "train", "--model", folder, "--ranks", "4", "--tokens", "100000"]),
    ]


def run(program: Path, folder: Path, models: list[str]) -> None:
    folder.mkdir(parents=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for model in models:
        for i, (ranks, words) in enumerate(commands(model, folder / model)):
            launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
            levels = [] if words[0] == "plan" else ["--log-level", "warning"]
            ended = subprocess.run([*launcher, str(program), *words, *levels], env=environment, capture_output=True)
            if ended.returncode != 0:
                sys.exit(f"{program} {' '.join(words)}: {ended.stderr.decode()}")
            (folder / f"{model}.{i}.out").write_bytes(ended.stdout)


def datasets(path: Path) -> dict[str, bytes]:
    values = {}

    def read(name: str, item: h5py.HLObject) -> None:
        attributes = sorted((key, bytes(repr(value), "utf8")) for key, value in item.attrs.items()
                            if key not in ("created", "tool_version", "seconds"))
        values[name] = repr(attributes).encode() + (item[()].tobytes() if isinstance(item, h5py.Dataset) else b"")

    with h5py.File(path) as file:
        file.visititems(read)
        read("/", file)
    return values


def differences(old: Path, new: Path, folders: tuple[Path, Path]) -> list[str]:
    """What differs in a file; the file itself as one item."""
    if old.suffix == ".h5":
        a, b = datasets(old), datasets(new)
        return [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    texts = []
    for path, folder in zip((old, new), folders):
        text = path.read_bytes().replace(str(folder).encode(), b"FOLDER")
        if path.suffix in (".json", ".jsonl", ".out", ".ini"):
            text = DATE.sub(b"DATE", VERSION.sub(b"VERSION", TIMES.sub(b"", text)))
        texts.append(text)
    return [] if texts[0] == texts[1] else ["content"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="of tests/data/models")
    parser.add_argument("--python", action="store_true", help="compare the Python files of models too")
    arguments = parser.parse_args()
    folders = (arguments.output.resolve() / "old", arguments.output.resolve() / "new")
    for program, folder in zip((arguments.old, arguments.new), folders):
        run(program.resolve(), folder, arguments.models)
    left_out = {"manifest.json"} | (set() if arguments.python else {"configuration_galapagos.py", "modeling_galapagos.py"})
    found = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name not in left_out}
             for folder in folders]
    wrong = [f"{path}: only one has it" for path in sorted(found[0] ^ found[1])]
    for path in sorted(found[0] & found[1]):
        wrong += [f"{path}: {what} differs" for what in differences(folders[0] / path, folders[1] / path, folders)]
    print("\n".join(wrong + [f"{len(found[0] & found[1])} files compared, {len(wrong)} differences"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
