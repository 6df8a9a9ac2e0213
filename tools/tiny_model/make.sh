#!/usr/bin/env bash
# Makes the weights of the tiny model, tests/data/models/tiny, with `galapagos train`, from random weights of its
# config.json. Its text is made by make_text.py, its tokenizer by make_tokenizer.py.
#   tools/tiny_model/make.sh [FOLDER = build/tiny_model] [RANKS = 1]
# Takes about 20 minutes on 2 cores. The same program on the same machine makes the same bits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-build/tiny_model} ranks=${2:-1}
galapagos=${GALAPAGOS:-build/release/src/app/galapagos}
launch=("$galapagos")
if ((ranks > 1)); then launch=(mpirun --oversubscribe -n "$ranks" "$galapagos"); fi

rm -rf "$folder/training" # of an earlier time
tools/tiny_model/make_training_text.sh "$folder"
"${launch[@]}" train --model tests/data/models/tiny --random-weights --data "$folder/marked.jsonl" \
  --tokens 10000000 --step-tokens 4096 --sequence-length 256 --precision fp32 --learning-rate 5e-3 \
  --min-learning-rate 0.01 --warmup 0.06 --weight-decay 0.1 --beta2 0.98 --clip 1 --seed 5 \
  --eval-data tests/data/text/tiny_heldout.jsonl --eval-every 250 --output "$folder/training"
cp "$folder/training/model/model.safetensors" tests/data/models/tiny/
