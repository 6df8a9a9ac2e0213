#!/usr/bin/env bash
# Sets up, builds, and prunes a small trained model to half of its prunable parameters on 4 MPI ranks: database, search,
# stitched checkpoint, a short post-training, and a comparison with uniform pruning and with random search at the same size.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

run tools/setup.sh
run cmake --preset release
run cmake --build --preset release --target galapagos

galapagos=build/release/src/app/galapagos
model=tests/data/models/tiny
calibration=tests/data/text/tiny_calibration.jsonl
held_out=tests/data/text/tiny_heldout.jsonl
folder=build/quickstart
run rm -rf "$folder" # of an earlier quick start
run mkdir -p "$folder"

# Open MPI refuses to run as root, and to start more ranks than cores, unless told otherwise.
launch=(mpirun)
if [[ $(mpirun --version 2>&1) == *"Open MPI"* ]]; then
  launch+=(--oversubscribe)
  if ((EUID == 0)); then run export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
fi
launch+=(-n 4 "$galapagos")

run "$galapagos" --version
run "$galapagos" info "$model"
begin=$SECONDS
run "${launch[@]}" sensitivity --model "$model" --calibration "$calibration" --sequence-length 256 \
  --output "$folder/sensitivity.h5"
run "${launch[@]}" database --model "$model" --calibration "$calibration" --levels 8 --sequence-length 256 \
  --calibration-tokens 40000 --sensitivity "$folder/sensitivity.h5" --output "$folder/database.h5"
run "$galapagos" assign --model "$model" --database "$folder/database.h5" --target-sparsity 0.5 \
  --output "$folder/assigned.txt"

search() { # strategy
  run "${launch[@]}" search --model "$model" --database "$folder/database.h5" --calibration "$calibration" \
    --output "$folder/$1" --strategy "$1" --target-sparsity 0.5 --islands 2 --generations 25 --offspring 8 \
    --survivors "4 2 1" --tokens "512 1024 2048" --migration-interval 5 --calibration-tokens 40000 --sequence-length 256
}
search evolution
search random

run "${launch[@]}" stitch --model "$model" --database "$folder/database.h5" --assignment "$folder/evolution/best.txt" \
  --output "$folder/model"
run "$galapagos" info "$folder/model"
run "${launch[@]}" train --model "$folder/model" --data "$calibration" --output "$folder/training" --tokens 200000 \
  --step-tokens 4096 --sequence-length 256 --learning-rate 1e-3

# One line "name parameters perplexity kl" for each model.
measure() { # name, options of eval
  local name=$1 json
  shift
  json=$("${launch[@]}" eval --data "$held_out" --sequence-length 256 --reference "$model" --log-level warning --json "$@")
  figure() { sed -n "s/^  \"$1\": \([^,]*\),*$/\1/p" <<<"$json" | head -1; }
  echo "$name $(figure parameters) $(figure perplexity) $(figure kl)"
}
with() { echo --model "$model" --database "$folder/database.h5" --assignment "$1"; }
printf '\nmeasuring on text that nothing has been fitted to ...\n'
{
  measure dense --model "$model"
  # shellcheck disable=SC2046
  measure uniform $(with "$folder/evolution/uniform.txt")
  # shellcheck disable=SC2046
  measure assigned $(with "$folder/assigned.txt")
  # shellcheck disable=SC2046
  measure random $(with "$folder/random/best.txt")
  measure evolution --model "$folder/model"
  measure trained --model "$folder/training/model"
} >"$folder/comparison.txt"

awk '
  { name[NR] = $1; parameters[NR] = $2; perplexity[NR] = $3; kl[NR] = $4; if ($4 > most) most = $4 }
  END {
    printf "\n%-10s %12s %12s %8s   distance from the unpruned model (KL)\n", "", "parameters", "perplexity", "KL"
    for (i = 1; i <= NR; ++i) {
      bar = ""
      for (j = 0; j < int(40 * kl[i] / most + 0.5); ++j) bar = bar "#"
      printf "%-10s %12d %12.3f %8.4f   %s\n", name[i], parameters[i], perplexity[i], (kl[i] < 0 ? 0 : kl[i]), bar
      json = json sprintf("%s{\"name\": \"%s\", \"parameters\": %d, \"perplexity\": %s, \"kl\": %s}", i > 1 ? ", " : "", name[i],
                          parameters[i], perplexity[i], kl[i] < 0 ? 0 : kl[i])
    }
    print "[" json "]" > "'"$folder"'/comparison.json"
  }' "$folder/comparison.txt"
run "$galapagos" report "$folder" --output "$folder/report.html"
echo
echo "The pruned model: $folder/model, after its post-training: $folder/training/model (transformers loads them with"
echo "trust_remote_code=True)."
echo "Database, searches, checkpoint, post-training and comparison took $((SECONDS - begin)) s."
