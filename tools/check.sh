#!/usr/bin/env bash
# Static analysis, kept clean: clang-tidy with the checks of .clang-tidy, cppcheck with the exceptions of tools/cppcheck.supp.
#   tools/check.sh [--change REV | FILE...]    only files that differ from REV, or these; all of src and tests without
# All files take clang-tidy about an hour of CPU time. CUDA sources are left out.
# Exit codes: 0 clean, 1 not, 2 wrong use, 4 a tool is missing (tools/setup.sh --checks installs them).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=()
case "${1:-}" in
  '') mapfile -t files < <(git ls-files 'src/*.cpp' 'tests/*.cpp') ;;
  --change)
    (($# == 2)) || { echo "check: give one revision behind --change" >&2; exit 2; }
    mapfile -t files < <(git diff --name-only --diff-filter=d "$2" -- 'src/*.cpp' 'tests/*.cpp')
    ;;
  -*) echo "check: unknown option $1; see the head of tools/check.sh" >&2; exit 2 ;;
  *) files=("$@") ;;
esac
((${#files[@]})) || { echo "check: nothing to check"; exit 0; }
for tool in clang-tidy cppcheck clang++; do
  command -v "$tool" >/dev/null && continue
  echo "check: there is no $tool; on Debian and Ubuntu 'tools/setup.sh --checks' installs it" >&2
  exit 4
done

# How each file is compiled, and the headers that the build makes.
folder=build/check
cmake -S . -B "$folder" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DGALAPAGOS_BENCHMARKS=OFF >"$folder.log" 2>&1 ||
  { tail -n 20 "$folder.log" >&2; exit 4; }
cmake --build "$folder" --target galapagos_build_info >>"$folder.log"

failed=0
cppcheck -q --std=c++20 --language=c++ --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
  --suppressions-list=tools/cppcheck.supp -I include "${files[@]}" || failed=1
# Files that are not compiled here (CUDA, Arrow) have no commands.
mapfile -t compiled < <(printf '%s\n' "${files[@]}" | while read -r file; do
  if grep -qF "/$file\"" "$folder/compile_commands.json"; then echo "$file"; fi
done)
if ((${#compiled[@]})); then
  printf '%s\0' "${compiled[@]}" | xargs -0 -n 1 -P "$(nproc)" nice clang-tidy -quiet -p "$folder" 2> >(grep -v 'warnings generated\|warning generated' >&2) || failed=1
fi
((failed == 0)) && echo "check: ${#files[@]} files are clean"
exit "$failed"
