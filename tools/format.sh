#!/usr/bin/env bash
# Formats the sources with clang-format (14, as in Debian 12).
#   tools/format.sh           format them
#   tools/format.sh --check   only say where they differ, and fail
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "$#:${1:-}" in
  0:) action=(-i) ;;
  1:--check) action=(--dry-run -Werror) ;;
  *) echo "format: unknown option $*; see the head of tools/format.sh" >&2; exit 2 ;;
esac
command -v clang-format >/dev/null || { echo "format: clang-format is missing; run tools/setup.sh" >&2; exit 4; }
git ls-files -z -- '*.cpp' '*.hpp' '*.h' '*.cu' '*.cuh' | xargs -0 clang-format "${action[@]}"
