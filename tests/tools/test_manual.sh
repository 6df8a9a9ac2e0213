#!/usr/bin/env bash
# Tests the pages of the manual: every command has one, with every option that `galapagos help --all` has of it, and no
# formatter complains.
#   bash tests/tools/test_manual.sh PROGRAM
set -euo pipefail
program=$1
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
failures=0
fail() {
  echo "FAILED: $1" >&2
  failures=$((failures + 1))
}

cmake -DPROGRAM="$program" -DOUTPUT="$T/man1" -P "$root/tools/packages/manual.cmake"
"$program" help --all >"$T/reference"
grep -q '^galapagos database: ' "$T/reference" || fail "no reference"
page=""
while IFS= read -r line; do
  if [[ $line =~ ^galapagos\ ([a-z\ ]+):\  ]]; then
    page="$T/man1/galapagos-${BASH_REMATCH[1]// /-}.1"
    [[ -s $page ]] || fail "no page $page"
  elif [[ $line =~ ^\ \ --([a-z0-9-]+)\  ]]; then
    option="${BASH_REMATCH[1]}"
    grep -qF "\\fB\\-\\-${option//-/\\-}\\fR" "$page" || fail "no --$option in $page"
  fi
done <"$T/reference"
while read -r command; do
  [[ -s $T/man1/galapagos-$command.1 ]] || fail "no page of $command"
  grep -qF "galapagos\\-$command" "$T/man1/galapagos.1" || fail "no $command in galapagos.1"
done < <("$program" --help | sed -n 's/^  \([a-z]*\) \{2,\}[a-z].*/\1/p' | grep -v galapagos)

for page in "$T"/man1/*.1; do
  if command -v groff >/dev/null; then
    said=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
    [[ -z $said ]] || fail "groff: $page: $said"
  fi
  if command -v mandoc >/dev/null; then # a page is of the program's version and has no date of its own
    said=$(mandoc -Tlint -Wwarning "$page" | grep -v "missing date" || true)
    [[ -z $said ]] || fail "mandoc: $said"
  fi
done
echo "manual: $(find "$T/man1" -name '*.1' | wc -l) pages, $(grep -c '^  --' "$T/reference") options"
((failures == 0)) || exit 1
