#!/usr/bin/env bash
# Sets up, builds, and makes the pruning database of a small model on 4 MPI ranks.
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
model=tests/data/models/llama3_tiny
database=build/quickstart/llama3_tiny.h5
run mkdir -p build/quickstart
run rm -f "$database" "$database.part" # of an earlier quick start

# Open MPI refuses to run as root, and to start more ranks than cores, unless told otherwise.
launch=(mpirun)
if [[ $(mpirun --version 2>&1) == *"Open MPI"* ]]; then
  launch+=(--oversubscribe)
  if ((EUID == 0)); then run export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
fi

run "$galapagos" --version
run "$galapagos" info "$model"
run "${launch[@]}" -n 4 "$galapagos" database --model "$model" --calibration tests/data/text/sample.jsonl \
  --levels 8 --sequence-length 256 --output "$database"
run "$galapagos" info --verify "$database"
