#!/usr/bin/env bash
# Checks a build with CUDA on a machine with a GPU, and prints one table: the operation tests, the pipeline on small models on
# the GPU against the CPU, benchmarks, PyTorch on the same shapes where python3 has it, and compute-sanitizer where it is found.
# It needs no compiler.
#   tools/gpu_check.sh [BUILD = build/cuda] [--parts "LIST"] [--keep DIR] [--archive FILE] [--dry-run]
# BUILD: a build folder, an installed tree, or a packed one or a tarball of such (programs in BUILD/bin, started through BUILD/run
# where there is one); it says which programs are missing. Parts: libraries operations pipeline training recovery head64 large bench torch
# sanitizer, or single benchmarks (bench_gpu bench_attention bench_database bench_switch bench_mixture bench_training); without --parts all of
# them. --keep keeps logs and files in DIR; --archive packs the logs into one .tar.gz; --dry-run prints each command instead of
# running it, and looks for libraries. Fails where anything fails.
# Two more parts run only where they are named: whole7b and whole14b, all commands on a model of Llama-2-7B's or Qwen2.5-14B's
# shapes with random weights. They want NumPy and 40 and 65 GB of disk, in --keep and WHOLE_MODEL, the model's folder, which is made
# where it does not exist and stays.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
all_parts="libraries operations pipeline training recovery head64 large bench torch sanitizer"
benches="bench_gpu bench_attention bench_database bench_switch bench_mixture bench_training"
build=$root/build/cuda parts=$all_parts keep='' archive='' dry=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --parts) parts=${2:?--parts needs a list}; shift ;;
    --keep) keep=${2:?--keep needs a folder}; shift ;;
    --archive) archive=${2:?--archive needs a file}; shift ;;
    --dry-run) dry=yes ;;
    -*) echo "gpu_check: unknown option $1; see the head of tools/gpu_check.sh" >&2; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done
on_request="whole7b whole14b"
for part in $parts; do
  [[ " $all_parts $benches $on_request " == *" $part "* ]] ||
    { echo "gpu_check: unknown part '$part'; choose of: $all_parts $benches $on_request" >&2; exit 2; }
done
[[ -e $build ]] || { echo "gpu_check: no such folder or tarball $build; build the preset 'cuda' or give the folder of a build" >&2; exit 2; }
[[ -z $archive || $archive == /* ]] || archive=$PWD/$archive
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
work=$scratch/work
[[ -z $keep ]] || { mkdir -p "$keep" && work=$(cd "$keep" && pwd); }
mkdir -p "$work/logs"
if [[ -f $build ]]; then
  mkdir "$scratch/build"
  tar xf "$build" -C "$scratch/build" 2>/dev/null || python3 -m tarfile -e "$build" "$scratch/build" ||
    { echo "gpu_check: $build cannot be unpacked" >&2; exit 3; }
  build=$scratch/build
  [[ -d $build/bin ]] || build=$(dirname "$(find "$build" -maxdepth 2 -type d -name bin | head -1)")
fi
build=$(cd "$build" && pwd)
export GALAPAGOS_TEST_FILES=$root/tests/data OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
: "${OMP_NUM_THREADS:=$(($(nproc) < 4 ? $(nproc) : 4))}"; export OMP_NUM_THREADS # more only slow small models down
model=$root/tests/data/models/tiny text=$root/tests/data/text
[[ -d $model ]] || { echo "gpu_check: $model is missing; run it from a source tree" >&2; exit 3; }

# CUDA's libraries as this machine has them: where the programs look for them, the toolkit, then pip wheels.
cuda_folders=$({
  ls -d "${CUDA_HOME:-/usr/local/cuda}"/lib64 "${CUDA_HOME:-/usr/local/cuda}"/targets/*/lib
  python3 -c "import glob, nvidia; print('\n'.join(sorted(d for p in nvidia.__path__ for d in glob.glob(p + '/*/lib'))))"
} 2>/dev/null | paste -sd:)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$cuda_folders

table=() failed=0 begin_all=$SECONDS
row() { # name, result, seconds, figure
  table+=("$(printf '%-38s %-8s %6s  %s' "$1" "$2" "$3" "$4")")
  echo "gpu_check: $1: $2 ($3 s) $4"
  [[ $2 != FAILED ]] || failed=1
}
find_program() { # -> its path, or nothing
  local place
  for place in bin src/app tests/ops tests/tensor tests/model tests/pruning tests/training tests/bench .; do
    if [[ -x $build/$place/$1 && ! -d $build/$place/$1 ]]; then echo "$build/$place/$1"; return; fi
  done
}
start() { # seconds, log, program, arguments...: runs it from its own place, on `ranks` ranks, under the words of `under`
  local limit=$1 log=$2 program
  program=$(find_program "$3")
  shift 3
  [[ -n $program ]] || return 125
  local launch=()
  [[ -x $build/run ]] && launch=("$build/run")
  ((${ranks:-1} == 1)) || launch+=(mpirun --oversubscribe --bind-to none -n "$ranks")
  if [[ $dry == yes ]]; then
    echo "+ timeout $limit ${launch[*]} ${under:-} $program $*" >&2
    return 0
  fi
  # shellcheck disable=SC2086
  (cd "$build" && timeout -k 5 "$limit" "${launch[@]}" ${under:-} "$program" "$@") >"$log" 2>&1
}
told() { # log -> its last line that says anything
  grep '[[:alnum:]]' "$1" 2>/dev/null | grep -vE ' info (  |seconds by phase|tensors of a rank)' | tail -1 | tr -s ' ' | cut -c1-90
}
ended() { # name, limit, log, program, seconds, status: a row of the table, with the log's last line
  local name=$1 limit=$2 log=$3 program=$4 seconds=$5 status=$6
  [[ $dry == no ]] || return 0
  case $status in
    0) if grep -qE 'SKIPPED( on the GPU|: no GPU)' "$log"; then
         row "$name" FAILED "$seconds" "no GPU is visible"
       elif grep -q '^No tests ran' "$log"; then
         row "$name" FAILED "$seconds" "the build's $program has no such tests"
       else
         row "$name" ok "$seconds" "$(told "$log")"
       fi ;;
    125) row "$name" skipped 0 "the build has no $program" ;;
    124 | 137) row "$name" FAILED "$seconds" "not done in $limit s" ;;
    *) row "$name" FAILED "$seconds" "exit code $status: $(grep -iE 'error|failed' "$log" | tail -1 | cut -c1-100)"; tail -20 "$log" ;;
  esac
  return "$status"
}
step() { # name, seconds, log, program, arguments...
  local name=$1 limit=$2 log=$work/logs/$3 begin=$SECONDS
  shift 3
  start "$limit" "$log" "$@"
  ended "$name" "$limit" "$log" "$1" $((SECONDS - begin)) $?
}
value() { # file, key -> the number of a line of JSON
  sed -nE 's/.*"'"$2"'": ?(-?[0-9.eE+-]+).*/\1/p' "$1" 2>/dev/null | tail -1
}
compare() { # name, first, second, limit: relative difference
  [[ $dry == no ]] || return 0
  if [[ -z $2 || -z $3 ]]; then row "$1" FAILED 0 "a number is missing"; return; fi
  local result
  result=$(awk -v a="$2" -v b="$3" -v limit="$4" 'BEGIN {
    d = a - b; if (d < 0) d = -d; m = a < 0 ? -a : a
    r = m > 0 ? d / m : d; printf "%s cpu %.6g, gpu %.6g, apart %.2g (limit %g)", (r <= limit ? "ok" : "FAILED"), a, b, r, limit }')
  row "$1" "${result%% *}" 0 "${result#* }"
}
show() { # name, seconds, log, program, arguments...: a step whose whole output belongs to the table
  step "$@" || return
  [[ $dry == no ]] || return 0
  while IFS= read -r line; do table+=("    $line"); done <"$work/logs/$3"
}

check_libraries() {
  local gpu program missing
  gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1)
  row "GPU" "$([[ -n $gpu ]] && echo ok || echo none)" 0 "${gpu:-nvidia-smi shows none}"
  for program in galapagos test_ops test_tensor test_model_mpi test_database test_pruning test_training bench_gpu bench_attention \
    bench_database_gpu bench_switch bench_mixture bench_training_gpu; do
    [[ -n $(find_program $program) ]] || { row "$program" missing 0 "the build has none"; continue; }
    missing=$(if [[ -x $build/run ]]; then "$build/run" ldd "$(find_program $program)"; else ldd "$(find_program $program)"; fi |
      awk '/not found/ {print $1}' | paste -sd' ')
    [[ -z $missing ]] || row "libraries of $program" FAILED 0 "not found: $missing; looked also in $cuda_folders"
  done
  ((failed == 0)) || return
  dry=no step "libraries" 90 version galapagos --version
  row "build" "$(grep -q 'CUDA *[0-9]' "$work/logs/version" && echo ok || echo FAILED)" 0 "$(grep -E 'CUDA|NCCL|cuDNN' "$work/logs/version" | tr -s ' \n' ' ')"
}

check_operations() {
  step "operations, all backends" 150 ops.log test_ops
  step "tensors" 60 tensor.log test_tensor
  step "modules, pruned and read" 60 pruned.log test_pruning "[pruned_module],[module_weights]"
  step "whole models, CPU and GPU" 90 models.log test_training "[backends]"
  step "sums, MPI and NCCL, one rank" 90 sums.log test_model_mpi "[gpu_sums]"
  step "removal order, CPU and GPU" 90 order.log test_database "[backends]"
}

data=(--sequence-length 128)
calibrate=(--calibration "$text/tiny_calibration.jsonl")
learn=(--data "$text/tiny_calibration.jsonl" "${data[@]}" --tokens 8192 --step-tokens 1024 --learning-rate 1e-3)
sharing=(--backend cuda --collectives mpi --allow-gpu-sharing)
search_options=("${calibrate[@]}" "${data[@]}" --target-level 4 --generations 5 --offspring 8 --survivors "4 1" --tokens "512 2048"
  --training-tokens "0 0")

# A database on each, then everything else on the CPU's, so that only one thing differs at a time. In fp32, and as the checkpoint
# is (bf16), where sums of rounded products differ more.
check_pipeline() {
  for backend in cpu cuda; do
    step "database, $backend" 60 "database_$backend.log" galapagos database --model "$model" "${calibrate[@]}" \
      --calibration-tokens 20000 "${data[@]}" --levels 8 --output "$work/$backend.h5" --backend $backend --precision fp32
    [[ $backend == cuda ]] || step "sensitivities, cpu" 60 sensitivity_cpu.log galapagos sensitivity --model "$model" "${calibrate[@]}" \
      --calibration-tokens 4096 "${data[@]}" --output "$work/s_cpu.h5" --backend cpu --precision fp32
  done
  step "sensitivities, cuda" 60 sensitivity_cuda.log galapagos sensitivity --model "$model" "${calibrate[@]}" \
    --calibration-tokens 4096 "${data[@]}" --output "$work/s_cuda.h5" --backend cuda --precision fp32
  step "database weighed, cuda" 60 database_weighed.log galapagos database --model "$model" "${calibrate[@]}" --calibration-tokens 20000 \
    "${data[@]}" --levels 8 --sensitivity "$work/s_cuda.h5" --output "$work/weighed.h5" --backend cuda
  for backend in cpu cuda; do
    step "search, $backend" 60 "search_$backend.log" galapagos search --model "$model" --database "$work/cpu.h5" "${search_options[@]}" \
      --output "$work/run_$backend" --backend $backend --precision fp32
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
      compare "$key, $precision" "$(value "$work/logs/eval_${precision}_cpu.json" $key)" "$(value "$work/logs/eval_${precision}_cuda.json" $key)" $limit
    done
  done
  # Greedy texts, of several lengths at a time and read in pieces: in fp32 the same but for choices that are all but even.
  [[ $dry == yes ]] || printf '{"ids": [%s]}\n' 5 "9, 12, 300" "$(seq -s ', ' 20 90)" "7, 7" >"$work/prompts.jsonl"
  for backend in cpu cuda; do
    step "generate, $backend" 60 "generate_$backend.log" galapagos generate --model "$work/stitched" --prompts "$work/prompts.jsonl" \
      --output "$work/texts_$backend.jsonl" --max-new-tokens 64 --batch 3 --batch-tokens 32 --backend $backend --precision fp32
  done
  if [[ $dry == no ]]; then
    if cmp -s "$work/texts_cpu.jsonl" "$work/texts_cuda.jsonl"; then row "generated texts" ok 0 "the same"; else row "generated texts" FAILED 0 "differ"; fi
  fi
  # One model on two ranks, which share the GPU and sum through the host: NCCL wants a GPU for each.
  ranks=2 step "eval, 2 shards" 90 eval_shards.json galapagos eval --model "$work/stitched" --reference "$model" \
    --data "$text/tiny_heldout.jsonl" "${data[@]}" --json "${sharing[@]}" --precision fp32 --shards 2
  ranks=2 step "search, 2 shards" 90 search_shards.log galapagos search --model "$model" --database "$work/cpu.h5" "${search_options[@]}" \
    --output "$work/run_shards" "${sharing[@]}" --precision fp32 --shards 2
  ranks=2 step "eval, bf16, 2 shards" 90 eval_shards_bf16.json galapagos eval --model "$work/stitched" --reference "$model" \
    --data "$text/tiny_heldout.jsonl" "${data[@]}" --json "${sharing[@]}" --precision bf16 --shards 2
  compare "nll, 2 shards" "$(value "$work/logs/eval_fp32_cpu.json" nll)" "$(value "$work/logs/eval_shards.json" nll)" 1e-3
  for key in nll kl; do
    compare "$key, bf16, 2 shards" "$(value "$work/logs/eval_bf16_cpu.json" $key)" "$(value "$work/logs/eval_shards_bf16.json" $key)" 1e-2
  done
  compare "fitness of the search, 2 shards" "$(value "$work/run_cpu/metrics.jsonl" fitness)" "$(value "$work/run_shards/metrics.jsonl" fitness)" 1e-3
}

check_training() {
  for backend in cpu cuda; do
    step "training, $backend" 60 "train_$backend.log" galapagos train --model "$model" "${learn[@]}" --output "$work/train_$backend" \
      --backend $backend --precision fp32
  done
  for key in loss gradient_norm; do
    compare "$key of the training" "$(value "$work/train_cpu/metrics.jsonl" $key)" "$(value "$work/train_cuda/metrics.jsonl" $key)" 1e-2
  done
  ranks=2 step "training, 2 shards" 90 train_shards.log galapagos train --model "$model" "${learn[@]}" --output "$work/train_shards" \
    "${sharing[@]}" --precision fp32 --shards 2
  ranks=2 step "training, 2 replicas" 90 train_replicas.log galapagos train --model "$model" "${learn[@]}" --output "$work/train_replicas" \
    "${sharing[@]}" --precision fp32
  for way in shards replicas; do
    compare "loss of the training, 2 $way" "$(value "$work/train_cpu/metrics.jsonl" loss)" "$(value "$work/train_$way/metrics.jsonl" loss)" 1e-2
  done
}

# What comes after pruning, and a model with norms of heads: the same files go into both backends.
check_recovery() {
  local r=$work/recovery qwen=$root/tests/data/models/qwen3_tiny
  mkdir -p "$r"
  step "recovery: sensitivities" 60 recovery_sensitivity.log galapagos sensitivity --model "$model" "${calibrate[@]}" \
    --calibration-tokens 4096 "${data[@]}" --output "$r/s.h5" --backend cpu --precision fp32
  step "recovery: database" 60 recovery_database.log galapagos database --model "$model" "${calibrate[@]}" --calibration-tokens 20000 \
    "${data[@]}" --levels 8 --sensitivity "$r/s.h5" --output "$r/db.h5" --backend cpu --precision fp32
  step "recovery: assignment" 30 recovery_assign.log galapagos assign --model "$model" --database "$r/db.h5" --target-sparsity 0.5 \
    --output "$r/assigned.txt"
  step "recovery: stitch" 30 recovery_stitch.log galapagos stitch --model "$model" --database "$r/db.h5" --assignment "$r/assigned.txt" \
    --output "$r/stitched"
  for backend in cpu cuda; do
    step "distil, $backend" 90 "distil_$backend.log" galapagos distil --model "$r/stitched" --reference "$model" "${learn[@]}" \
      --sensitivity "$r/s.h5" --output "$r/distil_$backend" --backend $backend --precision fp32
    step "prune in two stages, $backend" 120 "prune_$backend.log" galapagos prune --model "$model" "${calibrate[@]}" "${data[@]}" \
      --calibration-tokens 8192 --target-sparsity 0.5 --stages 2 --held-out "$text/tiny_heldout.jsonl" --output "$r/prune_$backend" --backend $backend --precision fp32
    for name in distil prune; do
      step "eval after $name, $backend" 60 "${name}_eval_$backend.json" galapagos eval --model "$r/${name}_$backend/model" \
        --reference "$model" --data "$text/tiny_heldout.jsonl" "${data[@]}" --json --backend cpu --precision fp32
    done
    step "training by hidden states, $backend" 60 "hidden_$backend.log" galapagos train --model "$r/stitched" --reference "$model" \
      --hidden-loss normalised "${learn[@]}" --output "$r/hidden_$backend" --backend $backend --precision fp32
    step "norms of heads: database, $backend" 60 "qwen3_database_$backend.log" galapagos database --model "$qwen" "${calibrate[@]}" \
      --calibration-tokens 4096 "${data[@]}" --levels 4 --output "$r/qwen3_$backend.h5" --backend $backend --precision fp32
    step "norms of heads: eval, $backend" 60 "qwen3_eval_$backend.json" galapagos eval --model "$qwen" --data "$text/tiny_heldout.jsonl" \
      "${data[@]}" --json --backend $backend --precision fp32
    step "norms of heads: training, $backend" 60 "qwen3_train_$backend.log" galapagos train --model "$qwen" "${learn[@]}" \
      --output "$r/qwen3_train_$backend" --backend $backend --precision fp32
  done
  # A ridge or a level that is as good as its neighbour may be the other one on a GPU.
  for name in distil prune; do
    compare "kl after $name" "$(value "$work/logs/${name}_eval_cpu.json" kl)" "$(value "$work/logs/${name}_eval_cuda.json" kl)" 3e-2
  done
  for key in loss gradient_norm; do
    compare "$key of training by hidden states" "$(value "$r/hidden_cpu/metrics.jsonl" $key)" "$(value "$r/hidden_cuda/metrics.jsonl" $key)" 1e-2
    compare "$key with norms of heads" "$(value "$r/qwen3_train_cpu/metrics.jsonl" $key)" "$(value "$r/qwen3_train_cuda/metrics.jsonl" $key)" 1e-2
  done
  compare "nll with norms of heads" "$(value "$work/logs/qwen3_eval_cpu.json" nll)" "$(value "$work/logs/qwen3_eval_cuda.json" nll)" 1e-3
}

# A small model with heads of 64, as the models of practice have them: only such heads reach the tensor cores. It is trained from
# random weights on the GPU in bf16, then pruned, searched, evaluated and trained on there, and measured on both.
check_head64() {
  local h=$work/head64 limit=2e-2
  mkdir -p "$h/config"
  cp "$model"/tokenizer*.json "$h/config/"
  sed -e 's/"hidden_size": 128/"hidden_size": 256/' -e 's/"head_dim": 16/"head_dim": 64/' -e 's/"intermediate_size": 352/"intermediate_size": 704/' \
    -e 's/"num_attention_heads": 8/"num_attention_heads": 4/' -e 's/"num_key_value_heads": 4/"num_key_value_heads": 2/' \
    -e 's/"num_hidden_layers": 8/"num_hidden_layers": 4/' "$model/config.json" >"$h/config/config.json"
  step "heads of 64: training, bf16" 90 head64_train.log galapagos train --model "$h/config" --random-weights --data "$text/tiny_calibration.jsonl" \
    "${data[@]}" --tokens 262144 --step-tokens 4096 --learning-rate 1e-3 --precision bf16 --output "$h/trained" --backend cuda
  local dense=$h/trained/model
  step "heads of 64: database, bf16" 60 head64_database.log galapagos database --model "$dense" "${calibrate[@]}" --calibration-tokens 20000 \
    "${data[@]}" --levels 8 --output "$h/db.h5" --backend cuda --precision bf16
  step "heads of 64: search, bf16" 60 head64_search.log galapagos search --model "$dense" --database "$h/db.h5" "${search_options[@]}" \
    --output "$h/run" --backend cuda --precision bf16
  step "heads of 64: stitch" 30 head64_stitch.log galapagos stitch --model "$dense" --database "$h/db.h5" --assignment "$h/run/best.txt" \
    --output "$h/stitched"
  for backend in cpu cuda; do
    step "heads of 64: eval, bf16, $backend" 60 "head64_eval_$backend.json" galapagos eval --model "$h/stitched" --reference "$dense" \
      --data "$text/tiny_heldout.jsonl" "${data[@]}" --json --backend $backend --precision bf16
    step "heads of 64: training on, $backend" 60 "head64_on_$backend.log" galapagos train --model "$h/stitched" "${learn[@]}" \
      --output "$h/on_$backend" --backend $backend --precision bf16
  done
  for key in nll kl; do
    compare "heads of 64: $key, bf16" "$(value "$work/logs/head64_eval_cpu.json" $key)" "$(value "$work/logs/head64_eval_cuda.json" $key)" $limit
  done
  for key in loss gradient_norm; do
    compare "heads of 64: $key of the training" "$(value "$h/on_cpu/metrics.jsonl" $key)" "$(value "$h/on_cuda/metrics.jsonl" $key)" $limit
  done
}

phases() { # log: what a run says of its seconds and memory, into the table
  while IFS= read -r line; do table+=("    ${line#* info }"); done < <(grep -A24 'seconds by phase' "$work/logs/$1" 2>/dev/null | grep -E ' info (  |seconds|tensors)')
}

# A config.json of the tiny model's tokenizer and of other shapes.
config_of() { # folder, model_type, hidden size, columns, heads, KV heads, layers, vocabulary
  mkdir -p "$1"
  cp "$model"/tokenizer*.json "$1/"
  sed -e "s/\"model_type\": [^,]*/\"model_type\": \"$2\"/" -e "s/\"hidden_size\": [^,]*/\"hidden_size\": $3/" \
    -e "s/\"intermediate_size\": [^,]*/\"intermediate_size\": $4/" -e "s/\"num_attention_heads\": [^,]*/\"num_attention_heads\": $5/" \
    -e "s/\"num_key_value_heads\": [^,]*/\"num_key_value_heads\": $6/" -e "s/\"num_hidden_layers\": [^,]*/\"num_hidden_layers\": $7/" \
    -e "s/\"vocab_size\": [^,]*/\"vocab_size\": $8/" -e 's/"head_dim": [^,]*/"head_dim": 128/' -e 's/"initializer_range": [^,]*/"initializer_range": 0.02/' \
    -e 's/"max_position_embeddings": [^,]*/"max_position_embeddings": 4096/' -e 's/"tie_word_embeddings": [^,]*/"tie_word_embeddings": false/' \
    "$model/config.json" >"$1/config.json"
}

# Two layers of Qwen2.5-14B's shapes with random weights: how long a layer of a large model takes, by phase, files included.
check_large() {
  local l=$work/large dense=$work/large/trained/model
  config_of "$l/config" llama 5120 13824 40 8 2 32000
  step "large: training" 90 large_train.log galapagos train --model "$l/config" --random-weights --data "$text/tiny_calibration.jsonl" \
    --sequence-length 512 --tokens 32768 --step-tokens 8192 --learning-rate 1e-4 --checkpoint-every 0 --precision bf16 --output "$l/trained" --backend cuda
  phases large_train.log
  step "large: database" 90 large_database.log galapagos database --model "$dense" "${calibrate[@]}" --calibration-tokens 65536 \
    --sequence-length 512 --levels 10 --output "$l/db.h5" --backend cuda
  phases large_database.log
  step "large: search" 90 large_search.log galapagos search --model "$dense" --database "$l/db.h5" "${calibrate[@]}" --sequence-length 512 \
    --target-level 5 --generations 3 --offspring 8 --survivors "4 1" --tokens "2048 8192" --training-tokens "0 0" --output "$l/run" --backend cuda
  phases large_search.log
  rm -rf "$l"
}

# All commands on a whole model of published shapes with random weights: by phase, and what of the GPU's memory was in use at most.
whole() { # name, config_of's shapes...
  local name=$1 w=$work/$1 dense=${WHOLE_MODEL:-$work/$1/model} begin=$SECONDS watch
  [[ $dense == /* ]] || dense=$PWD/$dense
  shift
  mkdir -p "$w"
  config_of "$w/config" "$@"
  if [[ $dry == no ]]; then
    if [[ ! -d $dense ]] && ! python3 "$root/tools/checks/make_random_model.py" "$w/config/config.json" "$model" "$dense"; then
      row "$name: random weights" FAILED $((SECONDS - begin)) "make_random_model.py"
      rm -rf "$dense"
      return
    fi
    if ! cmp -s "$w/config/config.json" "$dense/config.json"; then
      row "$name: random weights" FAILED $((SECONDS - begin)) "$dense holds a model of other shapes"
      return
    fi
    row "$name: random weights" ok $((SECONDS - begin)) "$(du -sh "$dense" | cut -f1)"
    # One long text, so that sequences are full.
    python3 -c 'import json, sys; print("\n".join(json.loads(line)["text"] for line in open(sys.argv[1])))' \
      "$text/tiny_calibration.jsonl" >"$w/text.txt"
  fi
  local input=(--calibration "$w/text.txt" --sequence-length 2048)
  part() { # command's name, limit, arguments...
    local command=$1 limit=$2
    shift 2
    [[ $dry == yes ]] || { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$w/memory" & watch=$!; }
    step "$name: $command" "$limit" "${name}_$command.log" galapagos "$command" "$@"
    local status=$?
    [[ $dry == no ]] || return $status
    kill "$watch" 2>/dev/null; wait "$watch" 2>/dev/null
    phases "${name}_$command.log"
    table+=("    at most $(sort -n "$w/memory" | tail -1) MiB of the GPU in use")
    return $status
  }
  part database 240 --model "$dense" "${input[@]}" --calibration-tokens 65536 --levels 8 --output "$w/db.h5" --backend cuda &&
    part search 150 --model "$dense" --database "$w/db.h5" "${input[@]}" --target-sparsity 0.5 --generations 3 --offspring 8 \
      --survivors "4 1" --tokens "2048 8192" --training-tokens "0 0" --output "$w/run" --backend cuda &&
    part stitch 120 --model "$dense" --database "$w/db.h5" --assignment "$w/run/best.txt" --output "$w/stitched" &&
    part eval 90 --model "$w/stitched" --data "$w/text.txt" --sequence-length 2048 --tokens 65536 --backend cuda
  local done=$?
  rm -f "$w/db.h5"
  [[ -n ${WHOLE_MODEL:-} ]] || rm -rf "$dense"
  [[ $done != 0 || $name != whole7b ]] || part train 180 --model "$w/stitched" --data "$w/text.txt" --sequence-length 2048 --tokens 131072 --step-tokens 32768 --recompute \
    --learning-rate 1e-5 --checkpoint-every 0 --output "$w/trained" --backend cuda
  rm -rf "$w/stitched" "$w/trained"
}
check_whole7b() { whole whole7b llama 4096 11008 32 32 32 32000; }
check_whole14b() { whole whole14b qwen2 5120 13824 40 8 48 152064; }

check_bench_gpu() { show "benchmark, operations" 100 bench_gpu.log bench_gpu 4; }
check_bench_attention() { show "benchmark, attention" 60 bench_attention.log bench_attention; }
check_bench_database() { show "benchmark, database" 60 bench_database_gpu.log bench_database_gpu; }
check_bench_switch() { show "benchmark, candidates" 60 bench_switch.log bench_switch; }
check_bench_mixture() { show "benchmark, mixtures" 60 bench_mixture.log bench_mixture; }
check_bench_training() { show "benchmark, training" 90 bench_training_gpu.log bench_training_gpu; }
check_bench() {
  local part
  for part in $benches; do "check_$part"; done
}

check_torch() {
  if ! python3 -c 'import torch' 2>/dev/null; then row "PyTorch" skipped 0 "python3 has none"; return; fi
  local begin=$SECONDS log=$work/logs/torch.log
  if [[ $dry == yes ]]; then echo "+ python3 tests/bench/torch_rates.py" >&2; return; fi
  (unset LD_LIBRARY_PATH; timeout -k 5 100 python3 "$root/tests/bench/torch_rates.py") >"$log" 2>&1
  row "PyTorch" "$([[ $? == 0 ]] && echo ok || echo FAILED)" $((SECONDS - begin)) ""
  while IFS= read -r line; do table+=("    $line"); done <"$log"
}

# Side by side, each on its own cases, as most of the time goes into one thread; cuBLAS's and cuDNN's kernels are left out.
check_sanitizer() {
  local tool name program filter status seconds place limit=400 job
  for place in "$(command -v compute-sanitizer)" "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer"; do
    [[ -x $place ]] && tool=$place && break
  done
  if [[ -z ${tool:-} ]]; then row "compute-sanitizer" skipped 0 "not found"; return; fi
  local jobs=(
    "racecheck, attention|test_ops|attention for*"
    "racecheck, attention in 16 bits|test_ops|attention and its gradients in 16*"
    "racecheck, gradients of attention|test_ops|gradients of attention*"
    "racecheck, columns|test_ops|single columns*,a follower*"
    "racecheck, structures|test_ops|structures*,what is not*"
    "racecheck, inverse|test_ops|every way*,the inverse of*"
    "racecheck, mixtures|test_ops|[mixture]"
    "racecheck, losses|test_ops|gradients of the losses*,divergences*,losses*,negative*,ids are*"
    "racecheck, norms and sums|test_ops|*norm*,squares*,rows are*,the gated*,weighed*,sums of squares*,the rotation*"
    "memcheck, operations|test_ops|"
    "memcheck, models|test_training|[backends]"
    "synccheck, operations|test_ops|attention*,gradients*,single*,structures*,every way*,*norm*"
  )
  for job in "${!jobs[@]}"; do
    (
      IFS='|' read -r name program filter <<<"${jobs[job]}"
      begin=$SECONDS
      export OMP_NUM_THREADS=1
      under="$tool --tool ${name%%,*} --kernel-name kernel_substring=galapagos --error-exitcode 86" \
        start $limit "$work/logs/sanitizer_$job.log" "$program" ${filter:+"$filter"}
      echo "$? $((SECONDS - begin))" >"$work/logs/sanitizer_$job.status"
    ) &
  done
  wait
  for job in "${!jobs[@]}"; do
    IFS='|' read -r name program filter <<<"${jobs[job]}"
    read -r status seconds <"$work/logs/sanitizer_$job.status"
    ended "$name" $limit "$work/logs/sanitizer_$job.log" "$program" "$seconds" "$status"
  done
}

for part in $parts; do
  "check_$part"
  [[ $part != libraries || $failed == 0 ]] || break # nothing would start
done

report() {
  printf '%s\n' "$(printf '%-38s %-8s %6s  %s' what result 'time/s' figures)" "${table[@]}" "all: $((SECONDS - begin_all)) s"
}
report >"$work/logs/table.txt"
[[ -z $archive ]] || tar czf "$archive" -C "$work" logs
echo
cat "$work/logs/table.txt"
exit $failed
