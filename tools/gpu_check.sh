#!/usr/bin/env bash
# Checks a build with CUDA on a machine with a GPU, and prints one table: the operation tests, the pipeline on the small
# model on the GPU against the CPU, and the benchmarks. It needs no compiler; about five minutes.
#   tools/gpu_check.sh [BUILD = build/cuda] [--quick] [--keep DIR]
# BUILD: a build folder, an installed tree or a packed one (programs in BUILD/bin; started through BUILD/run where there is
# one): galapagos, test_ops, test_tensor, test_model_mpi, test_database, bench_gpu; it says which are missing. --quick leaves the
# benchmarks out; --keep keeps logs and files in DIR. Fails where anything fails.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/cuda quick=no keep=
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) quick=yes ;;
    --keep) keep=${2:?--keep needs a folder}; shift ;;
    -*) echo "gpu_check: unknown option $1; see the head of tools/gpu_check.sh" >&2; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done
[[ -d $build ]] || { echo "gpu_check: no such folder $build; build the preset 'cuda' or give the folder of a build" >&2; exit 2; }
build=$(cd "$build" && pwd)
if [[ -n $keep ]]; then
  mkdir -p "$keep" && work=$(cd "$keep" && pwd)
else
  work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
fi
export GALAPAGOS_TEST_FILES=$root/tests/data OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
: "${OMP_NUM_THREADS:=$(nproc)}"; export OMP_NUM_THREADS
model=$root/tests/data/models/tiny text=$root/tests/data/text
[[ -d $model ]] || { echo "gpu_check: $model is missing; run it from a source tree" >&2; exit 3; }

table=() failed=0
row() { # name, result, seconds, figure
  table+=("$(printf '%-34s %-8s %6s  %s' "$1" "$2" "$3" "$4")")
  echo "gpu_check: $1: $2 ($3 s) $4"
  [[ $2 != FAILED ]] || failed=1
}
find_program() { # -> its path, or nothing
  local place
  for place in bin src/app tests/ops tests/tensor tests/model tests/pruning tests/bench .; do
    if [[ -x $build/$place/$1 && ! -d $build/$place/$1 ]]; then echo "$build/$place/$1"; return; fi
  done
}
start() { # seconds, log, program, arguments...: runs it from its own place, on `ranks` ranks
  local limit=$1 log=$2 program
  program=$(find_program "$3")
  shift 3
  [[ -n $program ]] || return 125
  local launch=()
  [[ -x $build/run ]] && launch=("$build/run")
  ((${ranks:-1} == 1)) || launch+=(mpirun --oversubscribe --bind-to none -n "$ranks")
  (cd "$build" && timeout "$limit" "${launch[@]}" "$program" "$@") >"$log" 2>&1
}
step() { # name, seconds, log, program, arguments...: a row of the table, with the log's last line
  local name=$1 limit=$2 log=$work/$3 begin=$SECONDS status
  shift 3
  start "$limit" "$log" "$@"
  status=$?
  case $status in
    0) if grep -q 'SKIPPED on the GPU' "$log"; then
         row "$name" FAILED $((SECONDS - begin)) "no GPU is visible"
       else
         row "$name" ok $((SECONDS - begin)) "$(grep '[[:alnum:]]' "$log" | grep -v ' info   ' | tail -1 | tr -s ' ' | cut -c1-80)"
       fi ;;
    125) row "$name" skipped 0 "the build has no $1" ;;
    124) row "$name" FAILED $((SECONDS - begin)) "not done in $limit s" ;;
    *) row "$name" FAILED $((SECONDS - begin)) "exit code $status: $(grep -iE 'error|failed' "$log" | tail -1 | cut -c1-90)"; tail -20 "$log" ;;
  esac
  return $status
}
value() { # file, key -> the number of a line of JSON
  sed -nE 's/.*"'"$2"'": ?(-?[0-9.eE+-]+).*/\1/p' "$1" | tail -1
}
compare() { # name, first, second, limit: relative difference
  if [[ -z $2 || -z $3 ]]; then row "$1" FAILED 0 "a number is missing"; return; fi
  local result
  result=$(awk -v a="$2" -v b="$3" -v limit="$4" 'BEGIN {
    d = a - b; if (d < 0) d = -d; m = a < 0 ? -a : a
    r = m > 0 ? d / m : d; printf "%s cpu %.6g, gpu %.6g, apart %.2g (limit %g)", (r <= limit ? "ok" : "FAILED"), a, b, r, limit }')
  row "$1" "${result%% *}" 0 "${result#* }"
}

gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1)
row "GPU" "$([[ -n $gpu ]] && echo ok || echo none)" 0 "${gpu:-nvidia-smi shows none}"
start 20 "$work/version" galapagos --version
row "build" "$(grep -q 'CUDA *[0-9]' "$work/version" && echo ok || echo FAILED)" 0 "$(grep -E 'CUDA|NCCL' "$work/version" | tr -s ' \n' ' ')"

step "operations, all backends" 180 ops.log test_ops
step "tensors" 20 tensor.log test_tensor
step "sums, MPI and NCCL, one rank" 120 sums.log test_model_mpi "[gpu_sums]"
step "removal order, CPU and GPU" 120 order.log test_database "[backends]"

# The pipeline: a database on each, then everything else on the CPU's, so that only one thing differs at a time. In fp32, and as
# the checkpoint is (bf16), where sums of rounded products differ more.
data=(--sequence-length 128)
for backend in cpu cuda; do
  step "database, $backend" 60 "database_$backend.log" galapagos database --model "$model" --calibration "$text/tiny_calibration.jsonl" \
    --calibration-tokens 20000 "${data[@]}" --levels 8 --output "$work/$backend.h5" --backend $backend --precision fp32
done
for backend in cpu cuda; do
  step "search, $backend" 60 "search_$backend.log" galapagos search --model "$model" --database "$work/cpu.h5" \
    --calibration "$text/tiny_calibration.jsonl" "${data[@]}" --target-level 4 --generations 5 --offspring 8 --survivors "4 1" \
    --tokens "512 2048" --training-tokens "0 0" --output "$work/run_$backend" --backend $backend --precision fp32
done
compare "fitness of the search" "$(value "$work/run_cpu/metrics.jsonl" fitness)" "$(value "$work/run_cuda/metrics.jsonl" fitness)" 1e-3
step "stitch" 30 stitch.log galapagos stitch --model "$model" --database "$work/cuda.h5" --assignment "$work/run_cpu/best.txt" --output "$work/stitched"
for precision in fp32 bf16; do
  limit=1e-3; [[ $precision == bf16 ]] && limit=1e-2
  for backend in cpu cuda; do
    step "eval, $precision, $backend" 60 "eval_${precision}_$backend.json" galapagos eval --model "$work/stitched" --reference "$model" \
      --data "$text/tiny_heldout.jsonl" "${data[@]}" --json --backend $backend --precision $precision
  done
  for key in nll kl; do
    compare "$key, $precision" "$(value "$work/eval_${precision}_cpu.json" $key)" "$(value "$work/eval_${precision}_cuda.json" $key)" $limit
  done
done
for backend in cpu cuda; do
  step "training, $backend" 60 "train_$backend.log" galapagos train --model "$model" --data "$text/tiny_calibration.jsonl" "${data[@]}" \
    --tokens 8192 --step-tokens 1024 --learning-rate 1e-3 --output "$work/train_$backend" --backend $backend --precision fp32
done
for key in loss gradient_norm; do
  compare "$key of the training" "$(value "$work/train_cpu/metrics.jsonl" $key)" "$(value "$work/train_cuda/metrics.jsonl" $key)" 1e-2
done
# One model on two ranks, which share the GPU and sum through the host: NCCL wants a GPU for each.
shared=(--backend cuda --shards 2 --collectives mpi --allow-gpu-sharing --precision fp32)
ranks=2 step "eval, 2 shards" 120 eval_shards.json galapagos eval --model "$work/stitched" --reference "$model" \
  --data "$text/tiny_heldout.jsonl" "${data[@]}" --json "${shared[@]}"
ranks=2 step "search, 2 shards" 120 search_shards.log galapagos search --model "$model" --database "$work/cpu.h5" \
  --calibration "$text/tiny_calibration.jsonl" "${data[@]}" --target-level 4 --generations 5 --offspring 8 --survivors "4 1" \
  --tokens "512 2048" --training-tokens "0 0" --output "$work/run_shards" "${shared[@]}"
ranks=2 step "training, 2 shards" 120 train_shards.log galapagos train --model "$model" --data "$text/tiny_calibration.jsonl" \
  "${data[@]}" --tokens 8192 --step-tokens 1024 --learning-rate 1e-3 --output "$work/train_shards" "${shared[@]}"
compare "nll, 2 shards" "$(value "$work/eval_fp32_cpu.json" nll)" "$(value "$work/eval_shards.json" nll)" 1e-3
compare "fitness of the search, 2 shards" "$(value "$work/run_cpu/metrics.jsonl" fitness)" "$(value "$work/run_shards/metrics.jsonl" fitness)" 1e-3
compare "loss of the training, 2 shards" "$(value "$work/train_cpu/metrics.jsonl" loss)" "$(value "$work/train_shards/metrics.jsonl" loss)" 1e-2
if [[ $quick == no ]] && step "benchmarks" 240 bench.log bench_gpu; then
  while IFS= read -r line; do table+=("    $line"); done <"$work/bench.log"
fi

echo
printf '%s\n' "$(printf '%-34s %-8s %6s  %s' what result 'time/s' figures)" "${table[@]}"
exit $failed
