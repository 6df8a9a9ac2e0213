#!/usr/bin/env bash
# Formats the sources with clang-format; with --check only says where they differ, and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
action=(-i)
[[ ${1:-} == --check ]] && action=(--dry-run -Werror)
git ls-files -z -- '*.cpp' '*.hpp' '*.cu' '*.cuh' | xargs -0 clang-format "${action[@]}"
