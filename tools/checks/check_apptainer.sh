#!/usr/bin/env bash
# Runs the sections of tools/apptainer/galapagos.def in two empty Debians, as `apptainer build` would: %post of the stage
# `build` with the clone in /opt/galapagos, then %post of the stage `run` with what that one installed; prunes a tiny model
# there by what %runscript says. Where apptainer is installed, it builds the container itself.
#   tools/checks/check_apptainer.sh [--quick]     --quick compiles without optimising
# Needs root (tools/checks/empty_debian.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
definition=tools/apptainer/galapagos.def
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# section NAME STAGE: its lines, without the indentation
section() {
  awk -v name="%$1" -v stage="$2" '
    /^Stage:/ { here = ($2 == stage) }
    /^%/ { inside = (here && $1 == name); next }
    /^[A-Z][a-z]*:/ { inside = 0 }
    inside { sub(/^    /, ""); print }' "$definition"
}

for file in tools/apptainer/*.def; do # the words of a definition
  unknown=$(grep -oE '^(%[a-z]+|[A-Z][A-Za-z]+:)' "$file" |
    grep -vxE '%(post|files|environment|runscript|test|labels|arguments)|(Bootstrap|From|Stage):' || true)
  [[ -z $unknown ]] || { echo "check_apptainer: $file: $unknown" >&2; exit 1; }
done
[[ -n $(section post build) && -n $(section post run) && -n $(section runscript run) ]]

if command -v apptainer >/dev/null; then
  git clone -q --no-hardlinks . "$work/clone"
  (cd "$work/clone" && apptainer build "$work/galapagos.sif" "$definition")
  apptainer test "$work/galapagos.sif"
  echo "check_apptainer: the container is built and tested"
  exit
fi

git clone -q --no-hardlinks . "$work/galapagos"
mkdir "$work/installed"
{ echo 'mv /given/galapagos /opt/'; section post build; echo 'cp -a /usr/local /out/'; } >"$work/build.sh"
if [[ ${1:-} == --quick ]]; then sed -i 's/BUILD_TYPE=Release/BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0/' "$work/build.sh"; fi
OUT="$work/installed" tools/checks/empty_debian.sh 'bash -euo pipefail /given/build.sh >/out/log 2>&1 || { tail -n 20 /out/log; exit 1; }' \
  "$work/galapagos" "$work/build.sh"
{
  echo 'cp -a /given/local /usr/'
  section post run
  section environment run
  section test run
  cat <<'TEXT'
cd /given
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
mpirun --oversubscribe -n 2 sh /given/runscript database --model tiny --calibration tiny_calibration.jsonl --levels 4 \
  --sequence-length 128 --calibration-tokens 2000 --output x.h5
sh /given/runscript info x.h5
TEXT
} >"$work/run.sh"
section runscript run >"$work/runscript"
tools/checks/empty_debian.sh 'bash -euo pipefail /given/run.sh' "$work/installed/local" "$work/run.sh" "$work/runscript" \
  tests/data/models/tiny tests/data/text/tiny_calibration.jsonl
echo "check_apptainer: the steps of $definition work; there is no apptainer here to pack them"
