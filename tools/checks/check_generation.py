#!/usr/bin/env python3
"""Checks that a model written by the hf export generates the same in every way that transformers has, and what Galapagos
itself calls right.

    python tools/checks/check_generation.py DIR --galapagos PROGRAM [--text FILE.jsonl] [--json OUT]

Loads DIR with trust_remote_code in float32. What is greedy is first found by hand, from passes without a cache over one
prompt at a time; `generate` has to write the same with and without a cache, in batches, behind padding, with a static cache,
chunked, assisted and so on (ways_to_generate.py), however the model was loaded (ways_to_load.py). As both sides may be
wrong alike, `galapagos eval --score` has to call each of these continuations the greedy one, and to give beams and samples
the likelihoods that transformers gave them.

A difference is forgiven, and printed as TIE, only where the two best logits are closer than 1e-4. Exits with 1 if anything
else differs. Needs torch, transformers (4.45 or later) and safetensors; accelerate for some checks, else left out aloud.
check_engines.py runs this for several models and versions of transformers.
"""

import argparse
import json
import sys
from pathlib import Path

import transformers
import ways_to_generate
import ways_to_load
from checker import Checker

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--galapagos", type=Path, default=ROOT / "build/release/src/app/galapagos", metavar="PROGRAM")
    parser.add_argument("--text", type=Path, default=ROOT / "tests/data/text/tiny_heldout.jsonl", metavar="FILE.jsonl")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the outcome of each check there")
    arguments = parser.parse_args()
    if not arguments.galapagos.is_file():
        sys.exit(f"{arguments.galapagos}: not there; give the program with --galapagos")

    checker = Checker(arguments.folder, arguments.text)
    for what, check in {**ways_to_generate.WAYS, **ways_to_load.WAYS}.items():
        checker.run(what, check)
    checker.score(arguments.galapagos.resolve())
    checker.run("scorer: greedy", Checker.scored_greedy)
    checker.run("scorer: likelihoods", Checker.scored_likelihoods)
    if arguments.json:
        arguments.json.write_text(json.dumps({"transformers": transformers.__version__, "results": checker.results}))
    sys.exit(1 if checker.failed else 0)


if __name__ == "__main__":
    main()
