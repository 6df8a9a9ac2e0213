#!/usr/bin/env bash
# Uniform pruning, random search and evolution at the same size and with as many evaluations, over several seeds, measured
# on text that none of them has seen. Prints a table.
#   tools/compare_strategies.sh MODEL CALIBRATION HELD_OUT FOLDER [SEEDS = 5] [search options...]
# GALAPAGOS names the program, RANKS how many ranks it gets (2), LEVELS the database's levels (8), TARGET the size
# (--target-sparsity 0.5).
set -euo pipefail
if (($# < 4)); then sed -n '2,6p' "$0" >&2; exit 2; fi
model=$1 calibration=$2 held_out=$3 folder=$4 seeds=${5:-5}
shift $(($# < 5 ? $# : 5))
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
galapagos=${GALAPAGOS:-$here/build/release/src/app/galapagos}
launch=(mpirun --oversubscribe -n "${RANKS:-2}" "$galapagos")
read -ra target <<<"${TARGET:---target-sparsity 0.5}"
options=("${target[@]}" --islands 2 --generations 25 --offspring 8 --survivors "4 2 1" --tokens "1024 2048 4096"
  --migration-interval 5 --sequence-length 256 --log-level warning "$@")

mkdir -p "$folder"
database=$folder/database.h5
[[ -e $database ]] || "${launch[@]}" database --model "$model" --calibration "$calibration" --levels "${LEVELS:-8}" \
  --sequence-length 256 --output "$database" --log-level warning

kl() {
  "${launch[@]}" eval --model "$model" --database "$database" --assignment "$1" --data "$held_out" --reference "$model" \
    --sequence-length 256 --log-level warning --json | sed -n 's/^  "kl": \(.*\),/\1/p'
}

printf '%-6s %10s %10s %10s   KL to the unpruned model, held out\n' seed uniform random evolution
for ((seed = 1; seed <= seeds; ++seed)); do
  for strategy in random evolution; do
    run=$folder/$strategy-$seed
    [[ -e $run/best.txt ]] || "${launch[@]}" search --model "$model" --database "$database" --calibration "$calibration" \
      --output "$run" --strategy "$strategy" --seed "$seed" "${options[@]}"
  done
  printf '%-6s %10.4f %10.4f %10.4f\n' "$seed" "$(kl "$folder/evolution-$seed/uniform.txt")" \
    "$(kl "$folder/random-$seed/best.txt")" "$(kl "$folder/evolution-$seed/best.txt")"
done
