#!/usr/bin/env bash
# Makes the text that make.sh and make_mixture.sh train on, FOLDER/marked.jsonl.
#   tools/tiny_model/make_training_text.sh FOLDER
set -euo pipefail
if (($# != 1)); then sed -n '2,3p' "$0" >&2; exit 2; fi
mkdir -p "$1"
python3 "$(dirname "${BASH_SOURCE[0]}")/make_text.py" --train "$1/train.jsonl"
# Every document ends with EOS; a quarter of them begins with BOS, since a model is used with it and without.
awk '{ sub(/"}$/, "<|end_of_text|>\"}"); if (NR % 4 == 0) sub(/^{"text": "/, "&<|begin_of_text|>"); print }' \
  "$1/train.jsonl" >"$1/marked.jsonl"
