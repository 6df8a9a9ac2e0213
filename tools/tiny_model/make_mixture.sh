#!/usr/bin/env bash
# Makes a small mixture of experts, FOLDER/unpruned, with `galapagos train`, from random weights of mixture.json: 4 layers
# of 8 experts of 64 columns, of which a token meets 2, with the tiny model's tokenizer, on its text. Its weights are not
# kept in this repository; mixture_study.sh prunes it.
#   tools/tiny_model/make_mixture.sh [FOLDER = build/mixture] [RANKS = 1]
# Environment: GALAPAGOS, the program; TOKENS to train on (3000000). The same program on the same machine makes the same
# bits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-build/mixture} ranks=${2:-1}
galapagos=${GALAPAGOS:-build/release/src/app/galapagos}
launch=("$galapagos")
if ((ranks > 1)); then launch=(mpirun --oversubscribe -n "$ranks" "$galapagos"); fi

rm -rf "$folder/training" # of an earlier time
mkdir -p "$folder/unpruned"
cp tools/tiny_model/mixture.json "$folder/unpruned/config.json"
cp tests/data/models/tiny/tokenizer.json tests/data/models/tiny/tokenizer_config.json "$folder/unpruned/"
tools/tiny_model/make_training_text.sh "$folder"
"${launch[@]}" train --model "$folder/unpruned" --random-weights --data "$folder/marked.jsonl" \
  --tokens "${TOKENS:-3000000}" --step-tokens 4096 --sequence-length 256 --precision fp32 --learning-rate 5e-3 \
  --min-learning-rate 0.01 --warmup 0.06 --weight-decay 0.1 --beta2 0.98 --clip 1 --seed 5 \
  --eval-data tests/data/text/tiny_heldout.jsonl --eval-every 250 --output "$folder/training"
cp "$folder/training/model/model.safetensors" "$folder/unpruned/"
