#!/usr/bin/env bash
# Uniform pruning, random search, the assignment by sensitivity alone and evolution at the same size over several seeds,
# random search and evolution with as many evaluations, measured on text that none of them has seen. Prints a table.
#   tools/compare_strategies.sh MODEL CALIBRATION HELD_OUT FOLDER [SEEDS = 5]
# Environment: GALAPAGOS, the program; RANKS (2); LEVELS of the database (8); TARGET (--target-sparsity 0.5); TOKENS of the
# stages (1024 2048 4096); GENERATIONS (25); SENSITIVITY, a file of sensitivities to make the database with, without which
# there is no assignment by sensitivity; START of the evolution (auto).
set -euo pipefail
if (($# < 4)); then sed -n '2,8p' "$0" >&2; exit 2; fi
model=$1 calibration=$2 held_out=$3 folder=$4 seeds=${5:-5}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
galapagos=${GALAPAGOS:-$here/build/release/src/app/galapagos}
launch=(mpirun --oversubscribe -n "${RANKS:-2}" "$galapagos")
read -ra target <<<"${TARGET:---target-sparsity 0.5}"

mkdir -p "$folder"
database=$folder/database.h5
[[ -e $database ]] || "${launch[@]}" database --model "$model" --calibration "$calibration" --levels "${LEVELS:-8}" \
  --sequence-length 256 ${SENSITIVITY:+--sensitivity "$SENSITIVITY"} --output "$database" --log-level warning

search() { # strategy, seed, folder
  [[ -e $3/best.txt ]] && return
  local start=()
  [[ $1 == evolution ]] && start=(--start "${START:-auto}")
  "${launch[@]}" search --model "$model" --database "$database" --calibration "$calibration" --output "$3" \
    --strategy "$1" "${start[@]}" --seed "$2" "${target[@]}" --islands 2 --generations "${GENERATIONS:-25}" --offspring 8 \
    --survivors "4 2 1" --tokens "${TOKENS:-1024 2048 4096}" --migration-interval 5 --sequence-length 256 \
    --log-level warning
}

kl() { # assignment
  "${launch[@]}" eval --model "$model" --database "$database" --assignment "$1" --data "$held_out" --reference "$model" \
    --sequence-length 256 --log-level warning --json | sed -n 's/^  "kl": \(.*\),/\1/p'
}

strategies=(random evolution)
[[ -z ${SENSITIVITY:-} ]] || strategies+=(sensitivity)
printf '%-6s %10s %10s %11s %10s   KL to the unpruned model, held out\n' seed uniform random sensitivity evolution
for ((seed = 1; seed <= seeds; ++seed)); do
  for strategy in "${strategies[@]}"; do search "$strategy" "$seed" "$folder/$strategy-$seed"; done
  by_sensitivity=-
  [[ -z ${SENSITIVITY:-} ]] || by_sensitivity=$(printf '%.4f' "$(kl "$folder/sensitivity-$seed/best.txt")")
  printf '%-6s %10.4f %10.4f %11s %10.4f\n' "$seed" "$(kl "$folder/evolution-$seed/uniform.txt")" \
    "$(kl "$folder/random-$seed/best.txt")" "$by_sensitivity" "$(kl "$folder/evolution-$seed/best.txt")"
done
