#!/bin/bash
# planted.sh FOLDER [TREE]: whether the storm finds bugs that are planted one after the other (planted/*.patch).
# In a copy of the source tree, FOLDER/tree, or in TREE, which is a copy already; both are built there.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(realpath -m "$1")
tree=${2:-$folder/tree}
mkdir -p "$folder"
if [ $# -lt 2 ]; then
  mkdir -p "$tree"
  tar -C "$source" --exclude=./build --exclude=./.git -cf - . | tar -C "$tree" -xf -
fi
cd "$tree"
[ -f build/release/build.ninja ] || cmake --preset release >"$folder/configure.log"

# What each is looked for with: a few minutes at most, as there are kinds of trials and phases where it shows.
storm() {
  case $1 in
    lost_fsync) set -- --kind kills --phase stitch sensitivity distil --kills 60 ;;
    early_state) set -- --kind kills --phase database --kills 60 ;;
    no_agreement) set -- --kind disk --phase train-3 train-4 --kills 20 ;;
  esac
  OMP_NUM_THREADS=1 build/release/tests/storm/storm --folder "$run" --seed 1 --minutes 5 "$@"
}

build() {
  cmake --build build/release --target galapagos storm >"$folder/build.log" || { tail -50 "$folder/build.log"; exit 2; }
}

# Without any of them it finds nothing.
build
missed=0
for patch in "$source"/tests/storm/planted/*.patch; do
  name=$(basename "$patch" .patch)
  run=$folder/without_$name
  rm -rf "$run"
  storm "$name" >"$run.log" 2>&1 || { echo "without $name: $(grep -m 1 FAILED "$run.log" || tail -1 "$run.log")"; missed=1; }
done
for patch in "$source"/tests/storm/planted/*.patch; do
  name=$(basename "$patch" .patch)
  patch -p1 --quiet <"$patch"
  trap 'patch -R -p1 --quiet <"$patch"' EXIT
  build
  run=$folder/$name
  rm -rf "$run"
  if storm "$name" >"$run.log" 2>&1; then
    echo "$name: NOT found"
    missed=1
  else
    echo "$name: found, first as: $(grep -m 1 FAILED "$run.log" || tail -1 "$run.log")"
  fi
  patch -R -p1 --quiet <"$patch"
  trap - EXIT
done
build
exit $missed
