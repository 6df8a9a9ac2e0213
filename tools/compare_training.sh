#!/usr/bin/env bash
# Does fine-tuning inside the selection pay? For several seeds, the winner of a search without it and the winner of one
# with it, at the same size and after as many generations, each before and after the same post-training, measured on text
# that none of them has seen. Prints a table.
#   tools/compare_training.sh MODEL CALIBRATION TRAINING HELD_OUT FOLDER [SEEDS = 5]
# Environment: GALAPAGOS, the program; RANKS (2); LEVELS of the database (8); TARGET (--target-sparsity 0.5); GENERATIONS
# (15); TRAINING_TOKENS of the stages (1000 2000 4000); LEARNING_RATE of the fine-tuning (1e-4); POST_TOKENS (300000) and
# POST_RATE (1e-3) of the post-training; OPTIONS for all of them, as --add-bos.
set -euo pipefail
if (($# < 5)); then sed -n '2,9p' "$0" >&2; exit 2; fi
model=$1 calibration=$2 training=$3 held_out=$4 folder=$5 seeds=${6:-5}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
galapagos=${GALAPAGOS:-$here/build/release/src/app/galapagos}
launch=(mpirun --oversubscribe -n "${RANKS:-2}" "$galapagos")
read -ra target <<<"${TARGET:---target-sparsity 0.5}"
read -ra options <<<"${OPTIONS:-}"
options+=(--sequence-length 256 --log-level warning)

mkdir -p "$folder"
database=$folder/database.h5
[[ -e $database ]] || "${launch[@]}" database --model "$model" --calibration "$calibration" --levels "${LEVELS:-8}" \
  --output "$database" "${options[@]}"

# Searches, stitches and trains on; nothing that is there is made again.
winner() { # folder, seed, training tokens of the stages
  [[ -e $1/run/best.txt ]] || "${launch[@]}" search --model "$model" --database "$database" --calibration "$calibration" \
    --training-data "$training" --output "$1/run" --seed "$2" "${target[@]}" --islands 2 --offspring 8 \
    --generations "${GENERATIONS:-15}" --survivors "4 2 1" --tokens "512 1024 2048" --training-tokens "$3" \
    --learning-rate "${LEARNING_RATE:-1e-4}" --migration-interval 5 "${options[@]}"
  [[ -e $1/model ]] || "${launch[@]}" stitch --model "$model" --database "$database" --assignment "$1/run/best.txt" \
    --output "$1/model" --log-level warning
  [[ -e $1/training/manifest.json ]] || "${launch[@]}" train --model "$1/model" --data "$training" --output "$1/training" \
    --tokens "${POST_TOKENS:-300000}" --step-tokens 4096 --learning-rate "${POST_RATE:-1e-3}" --precision fp32 "${options[@]}"
}

perplexity() { # model
  local json value
  json=$("${launch[@]}" eval --model "$1" --data "$held_out" "${options[@]}" --json)
  value=$(sed -n 's/^  "perplexity": \([^,]*\),*$/\1/p' <<<"$json" | head -1)
  if [[ -z $value ]]; then echo "compare_training: no perplexity of $1" >&2; exit 1; fi
  echo "$value"
}

printf '%-6s %22s %22s   perplexity, held out\n' '' 'search without training' 'search with training'
printf '%-6s %10s %12s %10s %12s\n' seed pruned trained pruned trained
for ((seed = 1; seed <= seeds; ++seed)); do
  winner "$folder/plain-$seed" "$seed" 0
  winner "$folder/aware-$seed" "$seed" "${TRAINING_TOKENS:-1000 2000 4000}"
  figures=()
  for kind in plain aware; do
    for which in model training/model; do
      figure=$(perplexity "$folder/$kind-$seed/$which")
      figures+=("$figure")
    done
  done
  printf '%-6s %10.4f %12.4f %10.4f %12.4f\n' "$seed" "${figures[@]}"
done
