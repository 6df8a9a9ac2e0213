#!/usr/bin/env bash
# Uniform pruning, random search and evolution at the same size and with as many evaluations, over several seeds, measured
# on text that none of them has seen. Prints a table.
#   tools/compare_strategies.sh MODEL CALIBRATION HELD_OUT FOLDER [SEEDS = 5]
# Environment: GALAPAGOS, the program; RANKS (2); LEVELS of the database (8); TARGET (--target-sparsity 0.5); TOKENS of the
# stages (1024 2048 4096); GENERATIONS (25).
set -euo pipefail
if (($# < 4)); then sed -n '2,7p' "$0" >&2; exit 2; fi
model=$1 calibration=$2 held_out=$3 folder=$4 seeds=${5:-5}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
galapagos=${GALAPAGOS:-$here/build/release/src/app/galapagos}
launch=(mpirun --oversubscribe -n "${RANKS:-2}" "$galapagos")
read -ra target <<<"${TARGET:---target-sparsity 0.5}"

mkdir -p "$folder"
database=$folder/database.h5
[[ -e $database ]] || "${launch[@]}" database --model "$model" --calibration "$calibration" --levels "${LEVELS:-8}" \
  --sequence-length 256 --output "$database" --log-level warning

search() { # strategy, seed, folder
  [[ -e $3/best.txt ]] && return
  "${launch[@]}" search --model "$model" --database "$database" --calibration "$calibration" --output "$3" \
    --strategy "$1" --seed "$2" "${target[@]}" --islands 2 --generations "${GENERATIONS:-25}" --offspring 8 \
    --survivors "4 2 1" --tokens "${TOKENS:-1024 2048 4096}" --migration-interval 5 --sequence-length 256 \
    --log-level warning
}

kl() { # assignment
  "${launch[@]}" eval --model "$model" --database "$database" --assignment "$1" --data "$held_out" --reference "$model" \
    --sequence-length 256 --log-level warning --json | sed -n 's/^  "kl": \(.*\),/\1/p'
}

printf '%-6s %10s %10s %10s   KL to the unpruned model, held out\n' seed uniform random evolution
for ((seed = 1; seed <= seeds; ++seed)); do
  for strategy in random evolution; do search $strategy "$seed" "$folder/$strategy-$seed"; done
  printf '%-6s %10.4f %10.4f %10.4f\n' "$seed" "$(kl "$folder/evolution-$seed/uniform.txt")" \
    "$(kl "$folder/random-$seed/best.txt")" "$(kl "$folder/evolution-$seed/best.txt")"
done
