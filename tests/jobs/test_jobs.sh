#!/usr/bin/env bash
# Tests the job scripts without a scheduler: small stand-ins of sbatch, qsub, bsub and what belongs
# to them queue the jobs in a temporary folder, and this script runs them one after the other with a
# stand-in of the program.
#   bash tests/jobs/test_jobs.sh
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
T="$(mktemp -d)"
trap 'rm -rf "$T"' EXIT
export T
failures=0

check() { # check WHAT COMMAND...
  local what="$1"
  shift
  if ! "$@"; then
    echo "FAILED: $scheduler: $what" >&2
    failures=$((failures + 1))
  fi
}
same() {
  [[ $1 == "$2" ]] || { printf '  is:        %s\n  should be: %s\n' "$1" "$2" >&2 && return 1; }
}
holds() {
  [[ $1 == *"$2"* ]] || { printf '  %s\n  does not hold %s\n' "$1" "$2" >&2 && return 1; }
}
lacks() {
  [[ $1 != *"$2"* ]] || { printf '  %s\n  holds %s\n' "$1" "$2" >&2 && return 1; }
}

# --- stand-ins -----------------------------------------------------------------------------------

mkdir -p "$T/bin" "$T/a model" "$T/elsewhere"
touch "$T/text 1.jsonl" "$T/text2.jsonl"

stand_in() {
  { echo '#!/usr/bin/env bash' && cat; } >"$T/bin/$1"
  chmod +x "$T/bin/$1"
}

# enqueue SCRIPT AFTER: keeps script and environment of a job and prints its number.
stand_in enqueue <<'STUB'
number=1
while [[ -e $T/queue/$number ]]; do number=$((number + 1)); done
mkdir -p "$T/queue/$number"
cp "$1" "$T/queue/$number/script"
echo "$2" >"$T/queue/$number/after"
export -p >"$T/queue/$number/environment"
echo "$number"
STUB
stand_in sbatch <<'STUB'
after=
echo "$*" >>"$T/submissions"
for word in "$@"; do
  case $word in --dependency=afterok:*) after="${word#*:}" ;; esac
done
echo "$(enqueue "${@: -1}" "$after");cluster"
STUB
stand_in scontrol <<'STUB'
number="${2#JobId=}"
echo "${3#Dependency=afterok:}" >"$T/queue/$number/after"
STUB
stand_in squeue <<'STUB'
echo "   1:00:10"
STUB
stand_in srun <<'STUB'
while [[ $1 == --* ]]; do shift; done
exec "$@"
STUB
stand_in qsub <<'STUB'
after=
echo "$*" >>"$T/submissions"
for word in "$@"; do
  case $word in depend=afterok:*) after="${word#*:}" ;; esac
done
enqueue "${@: -1}" "$after"
STUB
stand_in qalter <<'STUB'
echo "${2#depend=afterok:}" >"$T/queue/$3/after"
STUB
stand_in qstat <<'STUB'
printf 'Job Id: 1\n    Resource_List.walltime = %s\n    queue = q\n' "$(cat "$T/control/limit")"
STUB
stand_in bsub <<'STUB'
after=
echo "$*" >>"$T/submissions"
for word in "$@"; do
  case $word in done\(*\)) after="${word#done(}" && after="${after%)}" ;; esac
done
cat >"$T/stdin"
echo "Job <$(enqueue "$T/stdin" "$after")> is submitted to queue <normal>."
STUB
stand_in bmod <<'STUB'
after="${2#done(}"
echo "${after%)}" >"$T/queue/$3/after"
STUB
stand_in bjobs <<'STUB'
echo "1:01 L"
STUB
stand_in mpirun <<'STUB'
while :; do
  case $1 in
    -n | -x | --map-by | --bind-to) shift 2 ;;
    *) break ;;
  esac
done
exec "$@"
STUB

# Where control/no_stripes is, the file system is none of Lustre's.
stand_in lfs <<'STUB'
echo "$*" >>"$T/stripes"
[[ ! -e $T/control/no_stripes ]]
STUB

# control/<command> says how often the command is to do something else than succeed, and what:
#   "1 stop" (leaves with 75), "1 idle" (the same, having done nothing), "1 hang" (until a signal), "1 fail" (leaves with 3).
stand_in galapagos <<'STUB'
echo "$*" >>"$T/calls"
echo "$1 ${CUDA_VISIBLE_DEVICES:-all}" >>"$T/gpus"
command="$1"
while (($#)); do
  case $1 in
    --output) output="$2" ;;
    --assignment) assignment="$2" ;;
    --model) model="$2" ;;
    --sensitivity) sensitivity="$2" ;;
  esac
  shift
done
checkpoint() {
  if [[ $command =~ ^(sensitivity|database)$ ]]; then exit 75; fi
  mkdir -p "$output"
  touch "$output/checkpoint.h5"
  if [[ ${1:-} != idle ]]; then echo a generation >>"$output/metrics.jsonl"; fi
  exit 75
}
times=0 action=
if [[ -f $T/control/$command ]]; then read -r times action <"$T/control/$command"; fi
if ((times > 0)); then
  echo "$((times - 1)) $action" >"$T/control/$command"
  case $action in
    fail) exit 3 ;;
    stop) checkpoint ;;
    idle) checkpoint idle ;;
    hang)
      if [[ $command =~ ^(sensitivity|database|search|rounds|prune|train)$ ]]; then trap checkpoint USR2; fi
      touch "$T/control/running"
      for ((nap = 0; nap < 500; ++nap)); do sleep 0.02; done
      exit 1 # no signal came
      ;;
  esac
fi
case $command in
  sensitivity) touch "$output" ;;
  database)
    if [[ -n ${sensitivity:-} && ! -f $sensitivity ]]; then exit 3; fi
    touch "$output"
    ;;
  search)
    mkdir -p "$output"
    touch "$output/best.txt"
    ;;
  rounds) mkdir -p "$output" && touch "$output/best.txt" ;;
  prune) mkdir -p "$output/model" ;;
  stitch) [[ -f $assignment ]] && mkdir -p "$output" ;;
  train)
    if [[ ! -d $model ]]; then exit 2; fi
    mkdir -p "$output/model"
    touch "$output/manifest.json"
    ;;
  eval) [[ -d $model ]] && echo '{"perplexity": 7.5}' ;;
esac
STUB

# --- machines ------------------------------------------------------------------------------------

# Each says all that is needed of nodes and ranks, in replicas that fill nodes.
scheduler="any"
for file in "$root"/jobs/machines/*.sh; do
  machine=$(basename "$file" .sh)
  # shellcheck disable=SC2016 # the words are for the inner shell
  said=$(env -i PATH="$PATH" GALAPAGOS_JOBS="$root/jobs" MACHINE="$machine" bash -euc \
    'source "$GALAPAGOS_JOBS/settings.sh"; echo "$NODES $RANKS_PER_NODE $THREADS ${SHARDS:-1} ${GPUS_PER_NODE:-0}"')
  check "machine $machine: $said" grep -qE '^[1-9][0-9]* [1-9][0-9]* [1-9][0-9]* [1-9][0-9]* [0-9]+$' <<<"$said"
  read -r _ ranks _ shards _ <<<"$said"
  check "replicas of machine $machine" test $((ranks % shards)) = 0
  check "machine $machine has a row in README.md" grep -q "\`$machine\`" "$root/jobs/machines/README.md"
done

# --- the scheduler -------------------------------------------------------------------------------

# run_job NUMBER: as the scheduler would, with the environment that the job was submitted with.
# Where the program hangs, the job gets the signal named in control/signal, if there is one.
run_job() {
  local number="$1" job code=0
  rm -f "$T/control/running"
  # shellcheck disable=SC2016 # the words are for the inner shell
  env -i bash -c 'source "$1/environment"; cd "$T/elsewhere"
    export SLURM_JOB_ID="$2" SLURM_SUBMIT_DIR="$3" SLURM_CPUS_PER_TASK=3
    export PBS_JOBID="$2" PBS_O_WORKDIR="$3" PBS_NODEFILE="$T/nodes"
    export LSB_JOBID="$2" LS_SUBCWD="$3" LSB_MCPU_HOSTS="a 2 b 2" LSB_DJOB_NUMPROC=4
    exec bash "$1/script"' job "$T/queue/$number" "$number" "$root" >"$T/queue/$number/log" 2>&1 &
  job=$!
  if [[ -f $T/control/signal ]]; then
    while kill -0 "$job" 2>/dev/null; do
      if [[ -f $T/control/running ]]; then
        rm -f "$T/control/running"
        kill -s "$(cat "$T/control/signal")" "$job" || true
      fi
      sleep 0.02
    done
  fi
  wait "$job" || code=$?
  echo "$code" >"$T/queue/$number/code"
}

# Runs all jobs that can begin, in their order; those whose predecessor failed never begin.
run_queue() {
  local number after again=yes
  while [[ $again == yes ]]; do
    again=no
    for ((number = 1; ; ++number)); do
      [[ -d $T/queue/$number ]] || break
      if [[ -f $T/queue/$number/code ]]; then continue; fi
      after=$(cat "$T/queue/$number/after")
      if [[ -n $after && $(cat "$T/queue/$after/code" 2>/dev/null) != 0 ]]; then continue; fi
      run_job "$number"
      again=yes
    done
  done
}

codes() { # of the jobs in their order; - for one that never began
  local number text=""
  for ((number = 1; ; ++number)); do
    [[ -d $T/queue/$number ]] || break
    text+=" $(cat "$T/queue/$number/code" 2>/dev/null || echo -)"
  done
  echo "${text# }"
}
commands() { cut -d ' ' -f 1 "$T/calls" | tr '\n' ' '; }
begin_test() {
  rm -rf "$T/queue" "$T/work" "$T/calls" "$T/submissions" "$T/control" "$T/stripes" "$T/gpus"
  mkdir -p "$T/queue" "$T/control"
  echo 02:00:00 >"$T/control/limit"
}
printf 'a\na\nb\nb\n' >"$T/nodes"

submit_with() { # submit_with SCRIPT ARGUMENTS...
  (
    cd "$T/elsewhere"
    export PATH="$T/bin:$PATH" MODEL="$T/a model" WORK="$T/work/of mine"
    SEARCH_OPTIONS="--target-level 5${SEARCH_FRESH:+ --fresh}" "$@" 2>>"$T/submit_log"
  )
}

# --- the tests -----------------------------------------------------------------------------------

export CALIBRATION="$T/text 1.jsonl" EVAL_DATA="$T/text2.jsonl $T/text2.jsonl"
scheduler=all
for file in "$root"/jobs/*.sh "$root"/jobs/*/*.{sh,sbatch,pbs,lsf}; do check "bash -n $file" bash -n "$file"; done

for scheduler in slurm pbs lsf; do
  pipeline=(submit_with "$root/jobs/pipeline.sh" "$scheduler")

  # The whole way; the search stops once and goes on in another job, and the others wait for that.
  begin_test
  echo "1 stop" >"$T/control/search"
  ACCOUNT=mine NODES=2 RANKS_PER_NODE=2 THREADS=8 TIME_LIMIT=03:00:00 "${pipeline[@]}"
  run_queue
  check "order of the pipeline" same "$(commands)" "database search search stitch eval eval "
  check "codes of the pipeline" same "$(codes)" "0 75 0 0 0"
  check "model of the database" holds "$(sed -n 1p "$T/calls")" "database --model $T/a model"
  check "no sensitivity that was not asked for" lacks "$(cat "$T/calls")" sensitivity
  check "time limit of the database" holds "$(sed -n 1p "$T/calls")" --max-walltime
  check "the search goes on by itself" same "$(sed 's/--max-walltime.*//' <(sed -n 3p "$T/calls"))" \
    "$(sed 's/--max-walltime.*//' <(sed -n 2p "$T/calls"))"
  check "options of the search" holds "$(sed -n 3p "$T/calls")" "--target-level 5"
  check "reference of the evaluation" holds "$(sed -n 6p "$T/calls")" "--reference $T/a model"
  check "two files to evaluate" holds "$(sed -n 6p "$T/calls")" \
    "--data $T/text2.jsonl $T/text2.jsonl"
  check "result of the evaluation" grep -q 7.5 "$T/work/of mine/evaluation/pruned.json"
  check "the pruned model" test -d "$T/work/of mine/pruned"
  check "no list of followers stays" same "$(compgen -G "$T/work/of mine/*.followers")" ""
  check "account of every job" same "$(grep -c mine "$T/submissions")" 5
  case $scheduler in
    slurm)
      walltime=00:55:10 # squeue says 1:00:10, less five minutes
      resources="--nodes=2 --ntasks-per-node=2"
      ;;
    pbs)
      walltime="01:5[45]"
      resources="select=2:ncpus=16:mpiprocs=2:ompthreads=8"
      ;;
    lsf)
      walltime=00:56:00
      resources="-n 4 -R span[ptile=2] affinity[core(8)]"
      ;;
  esac
  check "--max-walltime" grep -q -- "--max-walltime $walltime" <(sed -n 3p "$T/calls")
  check "resources" holds "$(sed -n 1p "$T/submissions")" "$resources"
  check "resources of the job that goes on" holds "$(sed -n 5p "$T/submissions")" "$resources"

  # With a training of the pruned model, which stops once; the evaluation waits for its end.
  begin_test
  echo "1 stop" >"$T/control/train"
  export TRAIN_DATA="$T/text 1.jsonl" TRAIN_OPTIONS="--tokens 1000"
  NODES=2 RANKS_PER_NODE=2 THREADS=8 TIME_LIMIT=03:00:00 "${pipeline[@]}"
  run_queue
  check "order with a training" same "$(commands)" \
    "database search stitch train train eval eval eval "
  check "codes with a training" same "$(codes)" "0 0 0 75 0 0"
  check "the pruned model is trained" holds "$(sed -n 4p "$T/calls")" \
    "train --model $T/work/of mine/pruned --data $T/text 1.jsonl --output $T/work/of mine/trained"
  check "options of the training" holds "$(sed -n 4p "$T/calls")" "--tokens 1000"
  check "--max-walltime of the training" grep -q -- "--max-walltime $walltime" \
    <(sed -n 5p "$T/calls")
  check "resources of the training" holds "$(sed -n 4p "$T/submissions")" "$resources"
  check "resources of the training that goes on" holds "$(sed -n 6p "$T/submissions")" "$resources"
  check "the trained model is evaluated" holds "$(sed -n 8p "$T/calls")" \
    "eval --json --model $T/work/of mine/trained/model --reference $T/a model"
  check "result of the trained model" grep -q 7.5 "$T/work/of mine/evaluation/trained.json"
  check "no list of followers stays after a training" same \
    "$(compgen -G "$T/work/of mine/*.followers")" ""
  # A complete one is not begun again.
  rm -rf "$T/queue"
  mkdir "$T/queue"
  "${pipeline[@]}" train
  run_queue
  check "a complete training" same "$(codes) $(tail -n +9 "$T/calls" | cut -d ' ' -f 1 | tr '\n' ' ')" \
    "0 0 eval eval eval "

  # Weighed by sensitivities: both they and the database stop once, and what comes next waits for their ends.
  begin_test
  echo "1 stop" >"$T/control/sensitivity"
  echo "1 stop" >"$T/control/database"
  export SENSITIVITY="$T/work/of mine/by loss/s.h5"
  SENSITIVITY_OPTIONS="--samples 2 --fresh" NODES=2 RANKS_PER_NODE=2 THREADS=8 TIME_LIMIT=03:00:00 \
    EVAL_DATA="" COLLECTIVES=mpi "${pipeline[@]}"
  run_queue
  check "order with sensitivities" same "$(commands)" \
    "sensitivity sensitivity database database search stitch train "
  check "codes with sensitivities" same "$(codes)" "75 75 0 0 0 0 0"
  check "text of the sensitivities" holds "$(sed -n 1p "$T/calls")" \
    "sensitivity --model $T/a model --calibration $T/text 1.jsonl --output $SENSITIVITY --collectives mpi --samples 2 --fresh"
  check "sensitivities go on" holds "$(sed -n 2p "$T/calls")" "--output $SENSITIVITY --collectives mpi --samples 2 --max"
  check "--max-walltime of the sensitivities" grep -q -- "--max-walltime $walltime" <(sed -n 2p "$T/calls")
  for call in 3 4; do
    check "the database is weighed in call $call" holds "$(sed -n ${call}p "$T/calls")" "--sensitivity $SENSITIVITY"
  done
  check "sensitivities are the database's alone" lacks "$(tail -n +5 "$T/calls")" --sensitivity
  for submission in 1 6; do
    check "resources of sensitivities, $submission" holds "$(sed -n ${submission}p "$T/submissions")" "$resources"
  done
  case $scheduler in
    slurm) limit="--time=03:00:00 --signal=B:USR2@300" ;;
    pbs) limit="walltime=03:00:00" ;;
    lsf) limit="-W 180 -wa USR2 -wt 5" ;;
  esac
  for submission in 1 2 6 7; do # of both phases, and where they go on
    check "time limit of submission $submission" holds "$(sed -n ${submission}p "$T/submissions")" "$limit"
  done
  check "no list of followers stays after sensitivities" same \
    "$(compgen -G "$T/work/of mine/*.followers")$(compgen -G "$T/work/of mine/by loss/*.followers")" ""
  # From the database on, by the sensitivities that are there.
  rm -rf "$T/queue" "$T/calls"
  mkdir "$T/queue"
  EVAL_DATA="" "${pipeline[@]}" database
  run_queue
  check "from a weighed database on" same "$(codes) $(commands)" "0 0 0 0 database search "
  check "it is weighed by what is there" holds "$(sed -n 1p "$T/calls")" "--sensitivity $SENSITIVITY"

  # Where they fail or are cancelled, nothing follows.
  begin_test
  echo "1 fail" >"$T/control/sensitivity"
  "${pipeline[@]}" sensitivity
  run_queue
  check "codes after sensitivities that failed" same "$(codes) $(commands)" "3 - - - - - sensitivity "
  begin_test
  echo "1 hang" >"$T/control/sensitivity"
  echo TERM >"$T/control/signal"
  EVAL_DATA="" "${pipeline[@]}"
  run_queue
  check "codes after cancelling sensitivities" same "$(codes) $(commands)" "75 - - - - sensitivity "
  unset SENSITIVITY

  # The time limit is near: sensitivity, database, search and training stop and go on in another job.
  for phase in sensitivity database search train; do
    begin_test
    echo "1 hang" >"$T/control/$phase"
    if [[ $scheduler == pbs ]]; then # keeps the time itself
      echo 00:00:02 >"$T/control/limit"
    else
      echo USR2 >"$T/control/signal"
    fi
    weighed=""
    if [[ $phase == sensitivity ]]; then weighed="$T/work/of mine/s.h5"; fi
    SENSITIVITY="$weighed" EVAL_DATA="" STOP_BEFORE=1 "${pipeline[@]}"
    run_queue
    if [[ $phase == sensitivity ]]; then
      check "order after a warned sensitivity" same "$(commands)" \
        "sensitivity sensitivity database search stitch train "
      check "codes after a warned sensitivity" same "$(codes)" "75 0 0 0 0 0"
    elif [[ $phase == database ]]; then
      check "order after a warned database" same "$(commands)" \
        "database database search stitch train "
      check "codes after a warned database" same "$(codes)" "75 0 0 0 0"
    elif [[ $phase == search ]]; then
      check "order after a warned search" same "$(commands)" "database search search stitch train "
    else
      check "order after a warned training" same "$(commands)" "database search stitch train train "
      check "codes after a warned training" same "$(codes)" "0 0 0 75 0"
    fi
  done

  # Cancelled: the training writes its checkpoint, and nothing is submitted again.
  begin_test
  echo "1 hang" >"$T/control/train"
  echo TERM >"$T/control/signal"
  "${pipeline[@]}"
  run_queue
  check "codes after cancelling a training" same "$(codes)" "0 0 0 75 -"
  check "checkpoint of a cancelled training" test -f "$T/work/of mine/trained/checkpoint.h5"
  unset TRAIN_DATA TRAIN_OPTIONS

  # Cancelled: the search writes its checkpoint, and nothing is submitted again.
  begin_test
  echo "1 hang" >"$T/control/search"
  echo TERM >"$T/control/signal"
  EVAL_DATA="" "${pipeline[@]}"
  run_queue
  check "order after cancelling" same "$(commands)" "database search "
  check "codes after cancelling" same "$(codes)" "0 75 -"
  check "checkpoint after cancelling" test -f "$T/work/of mine/run/checkpoint.h5"

  # Machines of jobs/machines, and what they say of shards.
  begin_test
  export TRAIN_DATA="$T/text 1.jsonl" TRAIN_OPTIONS="--tokens 1000"
  MACHINE=one-node-4-gpus "${pipeline[@]}"
  run_queue
  check "codes on a machine" same "$(codes)" "0 0 0 0 0"
  check "no shards of a database" lacks "$(sed -n 1p "$T/calls")" --shards
  for call in 2 4 5; do # search, training, evaluation
    check "shards of call $call" holds "$(sed -n ${call}p "$T/calls")" "--shards 4 --collectives nccl"
  done
  unset TRAIN_DATA TRAIN_OPTIONS
  case $scheduler in
    slurm) resources="--nodes=1 --ntasks-per-node=4 --gpus-per-node=4" ;;
    pbs) resources="select=1:ncpus=64:mpiprocs=4:ompthreads=16:ngpus=4" ;;
    lsf) resources="-n 4 -R span[ptile=4] affinity[core(16)] -gpu num=4:mode=shared" ;;
  esac
  check "resources of a machine" holds "$(sed -n 2p "$T/submissions")" "$resources"
  begin_test
  MACHINE=many-nodes NODES=3 SHARDS=2 COLLECTIVES=mpi "${pipeline[@]}" search
  run_queue
  check "what is set goes before the machine" holds "$(sed -n 1p "$T/calls")" \
    "--shards 2 --collectives mpi"
  case $scheduler in
    slurm) resources="--nodes=3 --ntasks-per-node=4" ;;
    pbs) resources="select=3:ncpus=64" ;;
    lsf) resources="-n 12 -R span[ptile=4]" ;;
  esac
  check "nodes of a machine" holds "$(sed -n 1p "$T/submissions")" "$resources"
  check "no stripes that were not asked for" test ! -e "$T/stripes"

  # A machine with an order of GPUs and stripes; words for the scheduler besides.
  begin_test
  MACHINE=perlmutter-like SUBMIT_OPTIONS="--constraint=gpu --qos=debug" "${pipeline[@]}"
  run_queue
  check "codes on a machine with stripes" same "$(codes)" "0 0 0 0"
  check "stripes of the database" same "$(sed -n 1p "$T/stripes")" "setstripe -c 24 -S 1M $T/work/of mine"
  check "GPUs of ranks" same "$(sort -u "$T/gpus" | tr '\n' ' ')" "database 3,2,1,0 eval 3,2,1,0 search 3,2,1,0 stitch 3,2,1,0 "
  check "words for the scheduler" same "$(grep -c -- '--constraint=gpu --qos=debug' "$T/submissions")" 4
  begin_test
  touch "$T/control/no_stripes"
  STRIPES=8 "${pipeline[@]}" database
  run_queue
  check "codes where there are no stripes" same "$(codes)" "0 0 0 0"
  check "it is said that there are none" grep -q "are not striped: lfs cannot" "$T/queue/1/log"

  # Installed files, which are not to be changed, and settings of one's own.
  begin_test
  { echo 'SEED=17' && cat "$root/jobs/settings.sh"; } >"$T/my settings.sh"
  GALAPAGOS_SETTINGS="$T/my settings.sh" "${pipeline[@]}" search
  run_queue
  check "settings of one's own" holds "$(sed -n 1p "$T/calls")" "--seed 17"

  # Refused before anything is submitted.
  refused() { # refused WHY COMMAND...
    local why="$1" code=0
    shift
    begin_test
    : >"$T/submit_log"
    "$@" >/dev/null || code=$?
    check "refused: $why" same "$(grep -c "$why" "$T/submit_log") $(ls "$T/queue")" "1 "
    check "code of a refusal" test "$code" != 0
  }
  MACHINE=one-node-8-gpus SHARDS=3 \
    refused "8 ranks do not divide into replicas of 3 shards" "${pipeline[@]}"
  NODES=1 RANKS_PER_NODE=4 THREADS=2 SHARDS=two refused "SHARDS is not a number" "${pipeline[@]}"
  COLLECTIVES=rccl refused "choose auto, nccl or mpi" "${pipeline[@]}"
  MACHINE=laptop refused "MACHINE is none of jobs/machines" "${pipeline[@]}"
  refused "sensitivities go to SENSITIVITY, which is not set" "${pipeline[@]}" sensitivity
  refused "there is no phase 'sensitivities'" "${pipeline[@]}" sensitivities

  # A failure ends the chain.
  begin_test
  echo "1 fail" >"$T/control/search"
  "${pipeline[@]}"
  run_queue
  check "codes after a failure" same "$(codes)" "0 3 - -"

  # Begun anew, and then gone on with.
  begin_test
  echo "1 stop" >"$T/control/search"
  SEARCH_FRESH=yes "${pipeline[@]}" search
  run_queue
  check "a search begun anew" holds "$(grep ^search "$T/calls" | sed -n 1p)" "--fresh"
  check "a search begun anew that goes on" lacks "$(grep ^search "$T/calls" | sed -n 2p)" "--fresh"

  # Not for ever.
  begin_test
  echo "9 stop" >"$T/control/search"
  MAX_RESTARTS=2 "${pipeline[@]}" search
  run_queue
  check "codes of too many restarts" same "$(codes)" "75 - - 75 75"
  check "why it ended" grep -q "which is MAX_RESTARTS" "$T/queue/5/log"

  # Nor where two jobs in a row get nothing done.
  begin_test
  echo "9 idle" >"$T/control/search"
  "${pipeline[@]}" search
  run_queue
  check "codes of jobs that get nothing done" same "$(codes)" "75 - - 75"
  check "why they ended" grep -q "got nothing done within their time limit" "$T/queue/4/log"

  # A job submitted by hand, without a pipeline, from the folder above jobs/.
  begin_test
  suffix=$(basename "$root/jobs/$scheduler"/search.*) && suffix="${suffix#search.}"
  job="$root/jobs/$scheduler/search.$suffix"
  by_hand() {
    case $scheduler in
      slurm) submit_with sbatch "$1" ;;
      pbs) submit_with qsub "$1" ;;
      lsf) submit_with bsub <"$1" ;;
    esac >/dev/null
  }
  by_hand "$job"
  run_queue
  check "a job by hand" same "$(codes) $(commands)" "0 search "

  # Sensitivities by hand, and without a place for them.
  begin_test
  by_hand "${job/search./sensitivity.}"
  run_queue
  check "sensitivities without SENSITIVITY" same "$(codes)" "2"
  begin_test
  echo "1 stop" >"$T/control/sensitivity"
  SENSITIVITY="$T/work/of mine/s.h5" by_hand "${job/search./sensitivity.}"
  run_queue
  check "sensitivities by hand that go on" same "$(codes) $(commands)" "75 0 sensitivity sensitivity "

  # Rounds by hand: without text to compare them on they are refused, else they are stopped once and go on.
  begin_test
  by_hand "${job/search./rounds.}"
  run_queue
  check "rounds without HELD_OUT" same "$(codes)" "2"
  begin_test
  echo "1 stop" >"$T/control/rounds"
  HELD_OUT="$T/work/of mine/text.jsonl" ROUNDS_OPTIONS="--target-sparsity 0.5" by_hand "${job/search./rounds.}"
  run_queue
  check "rounds that go on" same "$(codes) $(commands)" "75 0 rounds rounds "
  check "options of rounds" holds "$(tail -n 1 "$T/calls")" "--target-sparsity 0.5"

  # Stages by hand, compared on no text.
  begin_test
  echo "1 stop" >"$T/control/prune"
  PRUNE_OPTIONS="--target-sparsity 0.5 --stages 4" by_hand "${job/search./prune.}"
  run_queue
  check "stages that go on" same "$(codes) $(commands)" "75 0 prune prune "
  check "options of stages" holds "$(tail -n 1 "$T/calls")" "--stages 4"
  PRUNED="$T/work/of mine/stages/model" EVAL_DATA="$T/work/of mine/text.jsonl" by_hand "${job/search./eval.}"
  run_queue
  check "evaluation of what stages have left" holds "$(tail -n 1 "$T/calls")" "stages/model --reference"

  # The study.
  begin_test
  study=(submit_with "$root/jobs/scaling.sh" "$scheduler")
  mkdir -p "$T/work/of mine"
  touch "$T/work/of mine/database.h5"
  echo "1 stop" >"$T/control/search"
  export STUDY_RANKS="1 8" STUDY_POPULATION=2x16 STUDY_POPULATIONS="1x4 2x16" STUDY_SEEDS="5 6"
  RANKS_PER_NODE=2 STUDY_POPULATION_RANKS=8 "${study[@]}"
  run_queue
  case $scheduler in
    slurm) resources="--nodes=4 --ntasks-per-node=2" ;;
    pbs) resources="select=4:ncpus=32:mpiprocs=2:ompthreads=16" ;;
    lsf) resources="-n 8 -R span[ptile=2] affinity[core(16)]" ;;
  esac
  check "resources of the study" holds "$(sed -n 2p "$T/submissions")" "$resources"
  check "codes of the study" same "$(codes)" "75 0 0 0 0 0"
  check "folders of the study" same "$(cd "$T/work/of mine/scaling" && echo ./*)" \
    "./ranks-0001_islands-002_offspring-016_seed-5 ./ranks-0008_islands-001_offspring-004_seed-5 \
./ranks-0008_islands-001_offspring-004_seed-6 ./ranks-0008_islands-002_offspring-016_seed-5 \
./ranks-0008_islands-002_offspring-016_seed-6"
  check "options of a run" holds "$(tail -n 1 "$T/calls")" \
    "--islands 2 --offspring 16 --survivors 8 4 2 1 --generations 50 --seed 5"
  check "survivors of few" holds "$(sed -n 3p "$T/calls")" \
    "--islands 1 --offspring 4 --survivors 2 1 1 1 --generations 50 --seed 5"
  STUDY_POPULATION_RANKS=8 "${study[@]}"
  check "finished runs are left out" same "$(codes)" "75 0 0 0 0 0"
  # Over shards, and with replicas of several ranks in the other series.
  begin_test
  mkdir -p "$T/work/of mine"
  touch "$T/work/of mine/database.h5"
  export STUDY_RANKS="" STUDY_POPULATIONS="1x4" STUDY_SEEDS="5" STUDY_SHARDS="1 4" STUDY_SHARDS_RANKS=8
  SHARDS=2 RANKS_PER_NODE=4 STUDY_POPULATION_RANKS=8 "${study[@]}"
  run_queue
  listed=$(cd "$T/work/of mine/scaling" && echo ./*)
  check "runs over shards" same "$(grep -o 'ranks-[0-9]*\|shards-[0-9]*' <<<"$listed" | tr '\n' ' ')" \
    "ranks-0002 shards-2 ranks-0004 shards-2 ranks-0008 shards-2 ranks-0008 ranks-0008 shards-2 \
ranks-0008 shards-4 ranks-0016 shards-2 ranks-0032 shards-2 ranks-0064 shards-2 "
  check "shards of a run" holds "$(grep ranks-0008_islands-002_offspring-016_seed-5_shards-4 "$T/calls")" \
    "--shards 4"
  STUDY_SHARDS=3 refused "8 ranks do not divide into replicas of 3 shards" "${study[@]}" --list
  unset STUDY_RANKS STUDY_POPULATION STUDY_POPULATIONS STUDY_SEEDS STUDY_SHARDS STUDY_SHARDS_RANKS
done

if ((failures > 0)); then
  echo "$failures checks failed" >&2
  exit 1
fi
echo "all job scripts work"
