#!/usr/bin/env bash
# Sets up, builds and runs the tests.
#   tools/test.sh [PRESET = release] [--werror] [--all]
# With --werror, or where CI is set, a compiler warning fails the build. With --all also the tests that take long (label
# slow) and those that need what this does not install: a running Slurm (slurm), network namespaces (hosts); these say so
# and are skipped where it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
werror=OFF
[[ -n ${CI:-} ]] && werror=ON
for word in "$@"; do
  case $word in
    --werror) werror=ON ;;
    --all) all=-all ;;
    -*) echo "test: unknown option $word; see the head of tools/test.sh" >&2; exit 2 ;;
    *) preset=$word ;;
  esac
done

tools/setup.sh
cmake --preset "$preset" -DGALAPAGOS_WERROR="$werror"
cmake --build --preset "$preset"
ctest --preset "$preset${all:-}" --parallel "$(nproc)"
