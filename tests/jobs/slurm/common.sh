# shellcheck shell=bash disable=SC2034,SC2154 # variables of run.sh and for the cases
# What the cases share: settings of the jobs, an undisturbed run, waiting for jobs, comparing.
failures=0
put_right=: # what a case has to put right before the end

skip() {
  echo "skipped: $*" >&2
  exit 77
}

need_slurm() {
  local nodes
  command -v sinfo >/dev/null || skip "no Slurm: there is no command sinfo"
  nodes=$(timeout 10 sinfo --noheader --Node --states=idle --format=%N 2>&1) || skip "no Slurm answers: $nodes"
  (($(sort -u <<<"$nodes" | wc -l) >= 2)) || skip "Slurm has no two idle nodes: '${nodes//$'\n'/ }'"
  [[ $(srun --mpi=list 2>&1) == *pmix* ]] || skip "this Slurm has no PMIx"
}

begin() {
  T="$(mktemp -d "${TMPDIR:-/tmp}/galapagos_slurm.XXXXXX")"
  trap leave EXIT
  trap 'exit 143' INT TERM
  model="$root/tests/data/models/llama3_tiny"
  text="$root/tests/data/text/sample.jsonl"
  cat >"$T/config.ini" <<'INI'
sequence-length = 64
[sensitivity]
calibration-tokens = 2048
samples = 8
[database]
calibration-tokens = 2048
levels = 4
[search]
calibration-tokens = 2048
target-sparsity = 0.4
survivors = 2 1
tokens = 256 512
[prune]
target-sparsity = 0.4
stages = 2
[distil]
tokens = 2048
step-tokens = 512
[rounds]
target-sparsity = 0.4
rounds = 1
[train]
tokens = 8192
step-tokens = 512
[eval]
tokens = 2048
INI
  export OMP_NUM_THREADS=1
  export OMPI_MCA_btl=self,tcp # virtual nodes share a host, which Open MPI takes for one node
}

# Ends the jobs of this run that are still there.
leave() {
  local code=$?
  "$put_right"
  jobs_here | xargs --no-run-if-empty scancel --quiet || true
  if ((code == 0 && failures == 0)); then rm -rf "$T"; else echo "what was left lies in $T" >&2; fi
}

finish() {
  if ((failures > 0)); then
    echo "$failures checks failed" >&2
    exit 1
  fi
  echo "the jobs work under Slurm"
}

check() { # check WHAT COMMAND...
  local what="$1"
  shift
  if ! "$@"; then
    echo "FAILED: $one: $what" >&2
    failures=$((failures + 1))
  fi
}
same() {
  [[ $1 == "$2" ]] || { printf '  is:        %s\n  should be: %s\n' "$1" "$2" >&2 && return 1; }
}

# on FOLDER NODES RANKS_PER_NODE COMMAND...: a script of jobs/ with the settings of this test, its results below FOLDER.
on() {
  local work="$1" nodes="$2" per_node="$3"
  shift 3
  env --chdir="$T" MODEL="$model" CALIBRATION="$text" CONFIG="$T/config.ini" WORK="$work" GALAPAGOS="$program" \
    SENSITIVITY="${SENSITIVITY-$work/s.h5}" DATABASE="${DATABASE:-$work/database.h5}" \
    TRAIN_DATA="${TRAIN_DATA-$text}" EVAL_DATA="${EVAL_DATA-$text}" \
    NODES="$nodes" RANKS_PER_NODE="$per_node" THREADS=1 SBATCH_MEM_PER_NODE=100 ISLANDS=2 OFFSPRING="${OFFSPRING:-4}" \
    GENERATIONS="${GENERATIONS:-20}" SEED=3 TIME_LIMIT="${TIME_LIMIT:-00:10:00}" STOP_BEFORE="${STOP_BEFORE:-30}" \
    MAX_RESTARTS=60 "$@" 2>>"$T/submitting"
}

# Numbers of the jobs of this run that wait or run, in their order: T is the folder they were submitted from.
jobs_here() { squeue --noheader --sort=i --format="%i %Z" | awk -v of="$T" '$2 == of { print $1 }'; }

# settle SECONDS: waits until all jobs have ended.
settle() {
  local until=$((SECONDS + $1))
  while [[ -n $(jobs_here) ]]; do
    if ((SECONDS > until)); then
      echo "FAILED: $one: jobs have not ended within $1 s" >&2
      squeue >&2
      jobs_here | xargs --no-run-if-empty scancel
      failures=$((failures + 1))
      return
    fi
    sleep 1
  done
}

# await SECONDS COMMAND...: until it succeeds.
await() {
  local until=$((SECONDS + $1))
  shift
  until "$@" 2>/dev/null; do
    if ((SECONDS > until)); then
      echo "FAILED: $one: waited in vain for: $*" >&2
      failures=$((failures + 1))
      return 1
    fi
    sleep 0.2
  done
}

state() { squeue --noheader --jobs="$1" --format=%T; }
is() { [[ $(state "$1") == "$2" ]]; }
# The newest job of a phase that waits or runs.
job_of() { squeue --noheader --name="galapagos-$1" --sort=-i --format=%i | head -n 1; }
logs() { cat "$1/logs/galapagos-$2-"*.log; }

# plain FOLDER [DATABASE]: the pipeline's commands on two ranks without a scheduler, with GENERATIONS and TRAIN_OPTIONS.
plain() {
  local work="$1" database="${2:-$1/database.h5}" options=() name
  local launch=(timeout -s KILL 600 mpirun --oversubscribe --bind-to none -n 2 "$program")
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  local configured=(--config "$T/config.ini" --log-level warning)
  read -r -a options <<<"${TRAIN_OPTIONS:-}"
  mkdir -p "$work/evaluation"
  if [[ $database == "$work/database.h5" ]]; then
    "${launch[@]}" sensitivity "${configured[@]}" --model "$model" --calibration "$text" --output "$work/s.h5"
    "${launch[@]}" database "${configured[@]}" --model "$model" --calibration "$text" --sensitivity "$work/s.h5" \
      --output "$database"
  fi
  "${launch[@]}" search "${configured[@]}" --model "$model" --database "$database" --calibration "$text" \
    --islands 2 --offspring 4 --generations "${GENERATIONS:-20}" --seed 3 --output "$work/run"
  "$program" stitch --model "$model" --database "$database" --assignment "$work/run/best.txt" --output "$work/pruned"
  "${launch[@]}" train "${configured[@]}" --model "$work/pruned" --data "$text" --output "$work/trained" "${options[@]}"
  "${launch[@]}" eval --json "${configured[@]}" --model "$model" --data "$text" >"$work/evaluation/dense.json"
  "${launch[@]}" eval --json "${configured[@]}" --model "$model" --database "$database" --assignment "$work/run/best.txt" \
    --reference "$model" --data "$text" >"$work/evaluation/pruned.json"
  "${launch[@]}" eval --json "${configured[@]}" --model "$work/trained/model" --reference "$model" --data "$text" \
    >"$work/evaluation/trained.json"
}

# What a pipeline ends in, as one line for each file: the assignment, weights, and what was measured.
results() {
  local file
  for file in run/best.txt pruned/model.safetensors trained/model/model.safetensors; do
    echo "$file $(cksum <"$1/$file" || true)"
  done
  for file in dense pruned trained; do
    echo "$file $(grep -E '"(perplexity|kl|tokens|parameters)"' "$1/evaluation/$file.json" | tr -d ' \n' || true)"
  done
}

# The undisturbed run that cases compare with, made once.
need_plain() {
  if [[ ! -f $T/plain/evaluation/trained.json ]]; then plain "$T/plain" >>"$T/plain.log" 2>&1; fi
}

# The same with a search and a training that take longer, on the same database; with what is exported until short_again.
need_plain_long() {
  need_plain
  long
  if [[ ! -f $T/long/evaluation/trained.json ]]; then plain "$T/long" "$T/plain/database.h5" >>"$T/plain.log" 2>&1; fi
}
long() { export GENERATIONS="${SLURM_TEST_GENERATIONS:-400}" TRAIN_OPTIONS="--tokens ${SLURM_TEST_TOKENS:-65536}"; }
short_again() { unset GENERATIONS TRAIN_OPTIONS; }
