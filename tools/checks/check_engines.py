#!/usr/bin/env python3
"""Prunes small models of all families, writes them by the hf export and runs check_generation.py on each with several
versions of transformers; prints a table.

    python3 tools/checks/check_engines.py [--galapagos PROGRAM] [--output FOLDER]

Versions: the oldest that the export declares (4.45), the last 4.x and the newest 5.x that pip offers, or --versions, each
what `pip install transformers...` takes. They go into OUTPUT/environments, one folder each, beside a virtual environment
with torch. To use what is there already: --python (one that has torch), and --folders, each made by
`pip install --target FOLDER transformers safetensors`.

The models come from tests/data/models/tiny (make_family.py): a Llama, Mistral, Qwen2 and Qwen3 with layers without
attention, without feed-forward part and without both, and with uneven heads. Their pruned text is still like that of the
training, so the best logits are well apart. Exits with 1 if anything fails. Logs are in OUTPUT.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
VERSIONS = ("==4.45.*", "<5", ">=5")
# Levels of 4 by layer; 4 removes all.
FFN = (2, 0, 1, 1, 0, 4, 1, 1, 0, 1, 4)
ATTENTION = (4, 0, 1, 2, 1, 4, 0, 1, 2, 1, 3)


def call(*words, log=None, **options):
    """Runs a command, and shows what it wrote where it fails."""
    ended = subprocess.run(list(map(str, words)), capture_output=log is None, text=True, stdout=log, stderr=log, **options)
    if ended.returncode != 0 and log is None:
        sys.exit(f"{' '.join(map(str, words))}\nended with code {ended.returncode}: {ended.stdout}{ended.stderr}")
    return ended


def make_python(folder):
    if not (folder / "bin/python").exists():
        print(f"installing torch into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        call(folder / "bin/python", "-m", "pip", "install", "torch")
    return folder / "bin/python"


def folder_name(version):
    words = version.replace(">=", "from").replace("<", "before")
    return "transformers-" + re.sub(r"[^\w.]", "", words).rstrip(".")


def make_folder(python, folder, version):
    """Installs one version of transformers. What depends on torch comes without its dependencies: torch is there."""
    if not folder.is_dir():
        print(f"installing transformers{version} into {folder}", flush=True)
        part = folder.with_name(folder.name + ".part")  # so that one that was stopped is not taken for whole
        install = [python, "-m", "pip", "install", "--upgrade", "--target", part]
        call(*install, f"transformers{version}", "safetensors")
        call(*install, "--no-deps", "accelerate", "psutil")
        part.rename(folder)
    return folder


def make_models(python, transformers, galapagos, output):
    """The pruned models, each a folder OUTPUT/FAMILY."""
    text = ROOT / "tests/data/text/tiny_calibration.jsonl"
    assignment = output / "assignment.txt"
    lines = [f"model.layers.{i}.mlp.down_proj: {level}" for i, level in enumerate(FFN)]
    lines += [f"model.layers.{i}.self_attn.o_proj: {level}" for i, level in enumerate(ATTENTION)]
    assignment.write_text("\n".join(lines) + "\n")
    environment = os.environ | {"PYTHONPATH": str(transformers)}
    for family in FAMILIES:
        if (output / family).exists():
            sys.exit(f"{output / family}: is there already; remove it or give another --output")
        unpruned, database = output / f"{family}.unpruned", output / f"{family}.h5"
        call(python, ROOT / "tools/checks/make_family.py", ROOT / "tests/data/models/tiny", family, unpruned,
             env=environment)
        call(galapagos, "database", "--model", unpruned, "--calibration", text, "--calibration-tokens", 4000,
             "--sequence-length", 128, "--levels", 4, "--output", database, "--log-level", "warning")
        call(galapagos, "stitch", "--model", unpruned, "--database", database, "--assignment", assignment, "--output",
             output / family, "--log-level", "warning")


def table(results):
    """results: by version, by family, the outcome of each check."""
    checks = list(dict.fromkeys(check for families in results.values() for found in families.values() for check in found))
    wide, cell = max(map(len, checks)) + 2, max(map(len, FAMILIES)) + 1
    rows = [["", *(f"transformers {version}".ljust(cell * len(FAMILIES)) for version in results)],
            ["", *("".join(family.ljust(cell) for family in FAMILIES) for _ in results)]]
    for check in checks:
        rows.append([check, *("".join(families[family].get(check, "?").ljust(cell) for family in FAMILIES)
                              for families in results.values())])
    print()
    for first, *rest in rows:
        print((first.ljust(wide) + "  ".join(rest)).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galapagos", type=Path, default=ROOT / "build/release/src/app/galapagos", metavar="PROGRAM")
    parser.add_argument("--output", type=Path, default=ROOT / "build/engines", metavar="FOLDER")
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="REQUIREMENT")
    parser.add_argument("--python", type=Path, help="one that has torch")
    parser.add_argument("--folders", type=Path, nargs="+", help="with one version of transformers each")
    arguments = parser.parse_args()
    galapagos, output = arguments.galapagos.resolve(), arguments.output.resolve()
    if not galapagos.is_file():
        sys.exit(f"{galapagos}: not there; give the program with --galapagos")
    output.mkdir(parents=True, exist_ok=True)

    python = arguments.python or make_python(output / "environments/python")
    folders = arguments.folders or [
        make_folder(python, output / "environments" / folder_name(version), version) for version in arguments.versions]
    make_models(python, folders[0].resolve(), galapagos, output)
    results, failed = {}, False
    for number, folder in enumerate(folders):
        environment = os.environ | {"PYTHONPATH": str(folder.resolve()), "OMP_NUM_THREADS": "1",
                                    "HF_MODULES_CACHE": str(output / f"modules-{number}"), "HF_HUB_OFFLINE": "1"}
        for family in FAMILIES:
            found, log = output / f"{family}-{number}.json", output / f"{family}-{number}.log"
            with log.open("w") as file:
                ended = call(python, ROOT / "tools/checks/check_generation.py", output / family, "--galapagos", galapagos,
                             "--json", found, log=file, env=environment)
            failed |= ended.returncode != 0
            if not found.exists():
                sys.exit(f"{folder}: the check of {family} broke off; see {log}")
            outcome = json.loads(found.read_text())
            results.setdefault(outcome["transformers"], {})[family] = outcome["results"]
            print(f"transformers {outcome['transformers']}, {family}: {'FAILED' if ended.returncode else 'ok'}, {log}",
                  flush=True)
    table(results)
    print("\n-: this version does not have it, or its environment lacks a package; the logs say which")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
