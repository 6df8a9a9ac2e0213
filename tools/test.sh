#!/usr/bin/env bash
# Sets up, builds and runs the tests.
#   tools/test.sh [PRESET = release] [--werror]
# With --werror, or where CI is set, a compiler warning fails the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
werror=OFF
[[ -n ${CI:-} ]] && werror=ON
for word in "$@"; do
  case $word in
    --werror) werror=ON ;;
    -*) echo "test: unknown option $word; see the head of tools/test.sh" >&2; exit 2 ;;
    *) preset=$word ;;
  esac
done

tools/setup.sh
cmake --preset "$preset" -DGALAPAGOS_WERROR="$werror"
cmake --build --preset "$preset"
ctest --preset "$preset"
