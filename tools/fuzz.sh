#!/usr/bin/env bash
# Builds the fuzzers of tests/fuzz and lets each run for a while, one after the other.
#   tools/fuzz.sh [--seconds S | --hours H] [--folder FOLDER] [--no-build] [NAME...]
# S: of each fuzzer, 10 by default. NAME: which ones, as in tests/fuzz/NAME.cpp; all without.
# In FOLDER (build/fuzz/runs by default) lies what lasts over all runs: corpus/NAME, which later runs go on from,
# findings/NAME, and ledger.tsv with the CPU time, executions and coverage of every run. It may be stopped at any time.
#   tools/fuzz.sh --sum [--folder FOLDER]      only sums up the ledger
# Exit codes: 0 without a finding, 1 with one, 2 wrong use, 4 no fuzzers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=10 folder=build/fuzz/runs build=true sum_only=false names=()
while (($#)); do
  case $1 in
    --seconds) seconds=${2:?}; shift ;;
    --hours) seconds=$(awk -v h="${2:?}" 'BEGIN { print int(h * 3600) }'); shift ;;
    --folder) folder=${2:?}; shift ;;
    --no-build) build=false ;;
    --sum) sum_only=true ;;
    -*) echo "fuzz: unknown option $1; see the head of tools/fuzz.sh" >&2; exit 2 ;;
    *) names+=("$1") ;;
  esac
  shift
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz: '$seconds' is no number of seconds" >&2; exit 2; }

mkdir -p "$folder"
ledger=$folder/ledger.tsv

# All runs so far: runs, CPU seconds, executions, edges covered by the last one, findings.
sum_up() {
  [[ -f $ledger ]] || { echo "fuzz: nothing has run yet"; return 0; }
  awk -F '\t' 'NR > 1 { runs[$2]++; cpu[$2] += $3; n[$2] += $4; edges[$2] = $5; corpus[$2] = $6; found[$2] += $7 }
    END {
      printf "%-16s %6s %10s %14s %8s %8s %9s\n", "fuzzer", "runs", "CPU s", "executions", "edges", "corpus", "findings"
      for (name in runs)
        printf "%-16s %6d %10.0f %14d %8d %8d %9d\n", name, runs[name], cpu[name], n[name], edges[name], corpus[name], found[name] | "sort"
    }' "$ledger"
}
if $sum_only; then sum_up; exit 0; fi

if $build; then
  if ! command -v clang++ >/dev/null; then
    echo "fuzz: there is no clang++; on Debian and Ubuntu 'tools/setup.sh --checks' installs it with libFuzzer" >&2
    exit 4
  fi
  cmake --preset fuzz >/dev/null
  if ((${#names[@]})); then
    cmake --build build/fuzz --target "${names[@]/#/fuzz_}"
  else
    cmake --build --preset fuzz
  fi
fi
programs=build/fuzz/tests/fuzz
if ((${#names[@]} == 0)); then
  for program in "$programs"/fuzz_*; do
    if [[ -x $program && -f $program ]]; then names+=("${program##*/fuzz_}"); fi
  done
fi
((${#names[@]})) || { echo "fuzz: there are no fuzzers in $programs; run without --no-build" >&2; exit 4; }

[[ -s $ledger ]] || printf 'time\tfuzzer\tCPU seconds\texecutions\tedges\tcorpus\tfindings\n' >"$ledger"
# What HDF5's and MPI's libraries keep to the end of the program is no leak of ours.
export ASAN_OPTIONS=detect_leaks=${GALAPAGOS_FUZZ_LEAKS:-1}:allocator_may_return_null=0
export UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1

# number_after TEXT FILE: the last number behind "TEXT" in a log of libFuzzer.
number_after() {
  grep -ao "$1 *[0-9]*" "$2" | tail -n 1 | grep -o '[0-9]*$' || echo 0
}

found_any=false
for name in "${names[@]}"; do
  program=$programs/fuzz_$name
  [[ -x $program ]] || { echo "fuzz: there is no fuzzer '$name'" >&2; exit 2; }
  corpus=$folder/corpus/$name findings=$folder/findings/$name log=$folder/$name.log
  mkdir -p "$corpus" "$findings"
  inputs=()
  for extra in seeds regressions; do
    if [[ -d tests/fuzz/$extra/$name ]]; then inputs+=("tests/fuzz/$extra/$name"); fi
  done
  dictionary=()
  if [[ -f tests/fuzz/dictionaries/$name.dict ]]; then dictionary=("-dict=tests/fuzz/dictionaries/$name.dict"); fi
  before=$(find "$findings" -type f | wc -l)
  TIMEFORMAT='%U %S'
  cpu=$({ time nice "$program" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=3000 -malloc_limit_mb=1024 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="$findings/" "${dictionary[@]}" "$corpus" "${inputs[@]}" \
    >"$log" 2>&1 || true; } 2>&1 | awk '{ print $1 + $2 }')
  found=$(($(find "$findings" -type f | wc -l) - before))
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$name" "$cpu" \
    "$(number_after stat::number_of_executed_units: "$log")" "$(number_after 'cov:' "$log")" \
    "$(find "$corpus" -type f | wc -l)" "$found" >>"$ledger"
  if ((found)); then
    found_any=true
    newest=$(find "$findings" -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    echo "fuzz: $name has found something, see $log; again by: $program $newest"
  elif ! grep -q 'stat::number_of_executed_units' "$log"; then
    found_any=true
    echo "fuzz: $name did not run: $(tail -n 1 "$log")"
  fi
done
sum_up
if $found_any; then exit 1; fi
