#!/usr/bin/env bash
# The whole comparison on one model: at the same size and from the same calibration data, what uniform pruning, random search, DarwinLM's
# way (plain order, evolution from uniform), the assignment by sensitivity, a search from it, rounds on the pruned path and layers
# distilled one by one lose on text that none of them has seen, before and after the same recovery, a model pruned in stages, and the best
# shape trained as long from random weights. Prints a table; what is done already is not done again.
#   tools/study.sh MODEL CALIBRATION HELD_OUT FOLDER [SEEDS = 3]
# Environment: GALAPAGOS, the program; RANKS (2); TARGET (--target-sparsity 0.5); LEVELS (8); CALIBRATION_TOKENS (0: all);
# SENSITIVITY_TOKENS (8192); GENERATIONS (12) of 8 offspring on 2 islands, with TOKENS of its stages (1024 4096); ROUNDS (3); STAGES (4);
# RECOVERY_TOKENS of `train --reference` (0: none) at RECOVERY_RATE (2e-4), from scratch SCRATCH_RATE (1e-3), RECOVERY_STEP (4096)
# of an update; OPTIONS for all commands that read text, as --sequence-length 512 --add-bos.
set -euo pipefail
if (($# < 4)); then sed -n '2,12p' "$0" >&2; exit 2; fi
model=$1 calibration=$2 held_out=$3 folder=$4 seeds=${5:-3}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
galapagos=${GALAPAGOS:-$here/build/release/src/app/galapagos}
launch=(mpirun --oversubscribe -n "${RANKS:-2}" "$galapagos")
read -ra target <<<"${TARGET:---target-sparsity 0.5}"
read -ra options <<<"${OPTIONS:---sequence-length 256}"
text=(--model "$model" --calibration "$calibration" "${options[@]}" --log-level warning)
tokens=(--calibration-tokens "${CALIBRATION_TOKENS:-0}")
mkdir -p "$folder"

# step NAME OUTPUT WORDS...: runs a command unless its mark is there, and notes its wall time.
step() {
  local name=$1 begin=$SECONDS
  shift
  [[ -e $folder/$name.done ]] && return
  # A run that was ended right before its mark was made.
  if [[ -e $folder/$name/manifest.json ]]; then
    sed -n 's/^  "seconds": \([0-9]*\).*/\1/p' "$folder/$name/manifest.json" >"$folder/$name.done"
    return
  fi
  "${launch[@]}" "$@"
  printf '%s\n' $((SECONDS - begin)) >"$folder/$name.done"
}

levels() { # name, further options
  local name=$1
  shift
  step "$name" database "${text[@]}" "${tokens[@]}" --levels "${LEVELS:-8}" --output "$folder/$name.h5" "$@"
}

search() { # name, database, seed, further options
  local name=$1 database=$2 seed=$3
  shift 3
  step "$name" search "${text[@]}" "${tokens[@]}" --database "$folder/$database.h5" --output "$folder/$name" --seed "$seed" \
    "${target[@]}" --islands 2 --generations "${GENERATIONS:-12}" --offspring 8 --survivors "2 1" \
    --tokens "${TOKENS:-1024 4096}" "$@"
}

evaluate() { # name of the result, words that name the model
  local name=$1
  shift
  [[ -e $folder/$name.json ]] && return
  "${launch[@]}" eval "$@" --data "$held_out" --reference "$model" "${options[@]}" --log-level warning --json \
    >"$folder/$name.json.part"
  mv "$folder/$name.json.part" "$folder/$name.json"
}

figure() { sed -n "s/^  \"$2\": \([^,]*\),*\$/\1/p" "$folder/$1.json"; }

seconds() { # steps
  local sum=0 name
  for name in "$@"; do sum=$((sum + $(<"$folder/$name.done"))); done
  echo $sum
}

row() { # title, name of the result, steps that led to it
  local title=$1 name=$2
  shift 2
  printf '%-34s %12d %10.3f %10.4f %8d s\n' "$title" "$(figure "$name" parameters)" "$(figure "$name" perplexity)" \
    "$(figure "$name" kl)" "$(seconds "$@")"
}

stitched() { # name of the result, database, assignment
  [[ -e $folder/$1-stitched.done ]] || rm -rf "$folder/$1-stitched"
  step "$1-stitched" stitch --model "$model" --database "$2" --assignment "$3" --output "$folder/$1-stitched" \
    --log-level warning
}

# recovered TITLE NAME MODEL STEPS...: measures a model after recovery; further options of train in RECOVERY.
recovered() {
  local title=$1 name=$2 trained=$3
  shift 3
  ((${RECOVERY_TOKENS:-0} > 0)) || return 0
  # shellcheck disable=SC2086
  step "$name-recovery" train --model "$trained" --reference "$model" --data "$calibration" "${options[@]}" \
    --tokens "$RECOVERY_TOKENS" --step-tokens "${RECOVERY_STEP:-4096}" --learning-rate "${RECOVERY_RATE:-2e-4}" \
    --precision fp32 --output "$folder/$name-recovery" \
    --log-level warning ${RECOVERY:-}
  evaluate "$name-recovered" --model "$folder/$name-recovery/model"
  row "$title" "$name-recovered" "$@" "$name-recovery"
}

# result TITLE NAME DATABASE ASSIGNMENT STEPS...: measures an assignment, before and after recovery.
result() {
  local title=$1 name=$2 database=$3 assignment=$4
  shift 4
  evaluate "$name" --model "$model" --database "$database" --assignment "$assignment"
  row "$title" "$name" "$@"
  ((${RECOVERY_TOKENS:-0} > 0)) || return 0
  stitched "$name" "$database" "$assignment"
  recovered '  after recovery' "$name" "$folder/$name-stitched" "$@"
}

# distilled NAME DATABASE ASSIGNMENT STEPS...: the same of an assignment whose layers were distilled.
distilled() {
  local name=$1
  stitched "$@"
  shift 3
  step "$name-distil" distil --model "$folder/$name-stitched" --reference "$model" --data "$calibration" \
    "${options[@]}" --tokens "${CALIBRATION_TOKENS:-0}" --sensitivity "$folder/sensitivity.h5" --precision fp32 \
    --output "$folder/$name-distil" --log-level warning
  evaluate "$name-distilled" --model "$folder/$name-distil/model"
  row '  distilled' "$name-distilled" "$@" "$name-distil"
  recovered '  distilled, after recovery' "$name-distilled" "$folder/$name-distil/model" "$@" "$name-distil"
}

evaluate dense --model "$model"
step sensitivity sensitivity "${text[@]}" --calibration-tokens "${SENSITIVITY_TOKENS:-8192}" \
  --output "$folder/sensitivity.h5"
levels plain
levels weighed --sensitivity "$folder/sensitivity.h5"
for ((seed = 1; seed <= seeds; ++seed)); do
  search "random-$seed" plain "$seed" --strategy random
  search "darwinlm-$seed" plain "$seed" --start uniform
  search "from-sensitivity-$seed" weighed "$seed" --start sensitivity
done
step assigned assign --model "$model" --database "$folder/weighed.h5" "${target[@]}" --output "$folder/assigned.txt" \
  --log-level warning >/dev/null
mkdir -p "$folder/rounds/round-0"
for name in sensitivity:sensitivity weighed:database; do
  ln -sf "../../${name%:*}.h5" "$folder/rounds/round-0/${name#*:}.h5"
done
printf '[sensitivity]\ncalibration-tokens = %s\n[database]\nlevels = %s\n' "${SENSITIVITY_TOKENS:-8192}" "${LEVELS:-8}" \
  >"$folder/rounds.ini"
step rounds rounds --config "$folder/rounds.ini" "${text[@]}" "${tokens[@]}" --held-out "$held_out" --output "$folder/rounds" "${target[@]}" \
  --rounds "${ROUNDS:-3}" >/dev/null
printf '[sensitivity]\ncalibration-tokens = %s\n[database]\nlevels = %s\n[distil]\nprecision = fp32\n' "${SENSITIVITY_TOKENS:-8192}" \
  "${LEVELS:-8}" >"$folder/stages.ini"
step stages prune --config "$folder/stages.ini" "${text[@]}" "${tokens[@]}" "${target[@]}" --stages "${STAGES:-4}" \
  --output "$folder/stages" >/dev/null

printf '%-34s %12s %10s %10s %10s\n' "held-out text" parameters perplexity KL time
printf '%-34s %12d %10.3f\n' unpruned "$(figure dense parameters)" "$(figure dense perplexity)"
result 'uniform, plain order' uniform "$folder/plain.h5" "$folder/darwinlm-1/uniform.txt" plain
result 'uniform, weighed order' uniform-weighed "$folder/weighed.h5" "$folder/from-sensitivity-1/uniform.txt" \
  sensitivity weighed
for ((seed = 1; seed <= seeds; ++seed)); do
  result "random search, seed $seed" "random-$seed" "$folder/plain.h5" "$folder/random-$seed/best.txt" \
    plain "random-$seed"
  result "DarwinLM's way, seed $seed" "darwinlm-$seed" "$folder/plain.h5" "$folder/darwinlm-$seed/best.txt" \
    plain "darwinlm-$seed"
done
result 'assigned by sensitivity' assigned "$folder/weighed.h5" "$folder/assigned.txt" sensitivity weighed assigned
distilled assigned "$folder/weighed.h5" "$folder/assigned.txt" sensitivity weighed assigned
for ((seed = 1; seed <= seeds; ++seed)); do
  result "search from it, seed $seed" "from-sensitivity-$seed" "$folder/weighed.h5" \
    "$folder/from-sensitivity-$seed/best.txt" sensitivity weighed "from-sensitivity-$seed"
done
best=$(sed -n 's/^  "database": "\(.*\)",*$/\1/p' "$folder/rounds/rounds.json")
result 'rounds on the pruned path' rounds-best "$best" "$folder/rounds/best.txt" sensitivity weighed rounds
distilled rounds-best "$best" "$folder/rounds/best.txt" sensitivity weighed rounds
evaluate stages --model "$folder/stages/model"
row "pruned in ${STAGES:-4} stages" stages stages
recovered '  after recovery' stages "$folder/stages/model" stages
RECOVERY=--random-weights RECOVERY_RATE=${SCRATCH_RATE:-1e-3} \
  recovered 'the same shape from scratch' scratch "$folder/rounds-best-stitched"
