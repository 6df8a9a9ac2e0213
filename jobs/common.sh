# shellcheck shell=bash
# What all jobs share. A job file sources jobs/<scheduler>/scheduler.sh, which sources this, and
# calls
#   run_phase sensitivity|database|search|rounds|prune|stitch|train|eval
# scheduler.sh has the functions that differ between schedulers:
#   submit PHASE [JOB]        submits a job, to begin after JOB has succeeded; prints its number
#   wait_for JOB OTHER        lets the waiting JOB wait for OTHER in place of what it waited for
#   seconds_left              how long this job may still run; prints nothing where it cannot tell
#   default_launcher          sets the array `launch`: what starts one rank per task of this job
#   single_launcher           the same for one rank
# and SIGNALS_EARLY, yes where the job file asks the scheduler for SIGUSR2 before the time limit.

: "${GALAPAGOS_JOBS:?the folder jobs/ of the program}"
export GALAPAGOS_JOBS
set -a # what a job is submitted with, the jobs that it submits get too
# An installed jobs/ is shared: settings of one's own are a copy of settings.sh that GALAPAGOS_SETTINGS names.
# shellcheck source=/dev/null
source "${GALAPAGOS_SETTINGS:-$GALAPAGOS_JOBS/settings.sh}"
set +a
export -nf load_modules
RESTARTS="${RESTARTS:-0}"
STALLED="${STALLED:-0}" # how many jobs of this phase were stopped before they got anything done, one after the other

say() { printf '%s jobs: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# fail CODE MESSAGE, with the program's exit codes
fail() {
  say "$2"
  exit "$1"
}

# Seconds of [days-]hours:minutes:seconds or minutes:seconds; fails for all else (as UNLIMITED).
to_seconds() {
  [[ $1 =~ ^(([0-9]+)-)?(([0-9]+):)?([0-9]+):([0-9]+)$ ]] || return 1
  local days="${BASH_REMATCH[2]:-0}" hours="${BASH_REMATCH[4]:-0}"
  local minutes="${BASH_REMATCH[5]}" seconds="${BASH_REMATCH[6]}"
  echo $((((10#$days * 24 + 10#$hours) * 60 + 10#$minutes) * 60 + 10#$seconds))
}

to_clock() { printf '%02d:%02d:%02d\n' $(($1 / 3600)) $(($1 / 60 % 60)) $(($1 % 60)); }

# read_files ARRAY TEXT: one file whose name may hold blanks, or several separated by blanks.
read_files() {
  local -n files_read="$1"
  if [[ -e $2 ]]; then files_read=("$2"); else read -r -a files_read <<<"$2"; fi
  ((${#files_read[@]})) || fail 2 "no data files: set CALIBRATION, TRAIN_DATA and EVAL_DATA in jobs/settings.sh"
}

# Sets `submit_words` to what SUBMIT_OPTIONS says.
# shellcheck disable=SC2034 # schedulers' submit() reads it
read_submit_options() { read -r -a submit_words <<<"$SUBMIT_OPTIONS"; }

# stripe FOLDER: how what is written there from now on is spread over the targets of a parallel file system.
# Before the first byte, since what is there stays as it is; where it cannot be done it is only said.
stripe() {
  local how=()
  [[ -n $STRIPES ]] || return 0
  if command -v lfs >/dev/null; then
    how=(lfs setstripe -c "$STRIPES" -S "$STRIPE_SIZE" "$1")
  elif command -v beegfs-ctl >/dev/null && ((STRIPES > 0)); then
    how=(beegfs-ctl --setpattern --numtargets="$STRIPES" --chunksize="$STRIPE_SIZE" "$1")
  fi
  if ((${#how[@]} == 0)); then
    say "files in $1 are not striped: there is no lfs and no beegfs-ctl"
  elif ! "${how[@]}" >&2; then
    say "files in $1 are not striped: ${how[0]} cannot"
  fi
}

# check_shards RANKS: that they divide into replicas of SHARDS ranks.
check_shards() {
  [[ -n $SHARDS ]] || return 0
  [[ $SHARDS =~ ^[1-9][0-9]*$ ]] || fail 2 "SHARDS is not a number of ranks: '$SHARDS'; see jobs/settings.sh"
  (($1 % SHARDS == 0)) ||
    fail 2 "$1 ranks do not divide into replicas of $SHARDS shards: make the ranks a multiple of SHARDS"
}

check_settings() {
  [[ -z $MACHINE || -f $GALAPAGOS_JOBS/machines/$MACHINE.sh ]] ||
    fail 3 "MACHINE is none of jobs/machines: '$MACHINE'; see jobs/settings.sh"
  [[ -d $MODEL ]] || fail 3 "MODEL is not a folder: '$MODEL'; see jobs/settings.sh"
  [[ $WORK != /path/* ]] || fail 2 "WORK is not set; see jobs/settings.sh"
  [[ -z $CONFIG || -f $CONFIG ]] || fail 3 "CONFIG is not a file: '$CONFIG'; see jobs/settings.sh"
  if [[ -n $NODES$RANKS_PER_NODE ]]; then
    [[ -n $NODES && -n $RANKS_PER_NODE && -n $THREADS ]] ||
      fail 2 "set all of NODES, RANKS_PER_NODE and THREADS, or none; see jobs/settings.sh"
    check_shards $((NODES * RANKS_PER_NODE))
  fi
  [[ $COLLECTIVES =~ ^(|auto|nccl|mpi)$ ]] ||
    fail 2 "COLLECTIVES is '$COLLECTIVES': choose auto, nccl or mpi; see jobs/settings.sh"
  [[ -z $TIME_LIMIT ]] || to_seconds "$TIME_LIMIT" >/dev/null ||
    fail 2 "TIME_LIMIT is not HH:MM:SS: '$TIME_LIMIT'; see jobs/settings.sh"
}

# Only the phase itself needs it.
check_sensitivity() {
  [[ -n $SENSITIVITY ]] || fail 2 "sensitivities go to SENSITIVITY, which is not set; see jobs/settings.sh"
}

prepare() {
  export OMP_PLACES="${OMP_PLACES:-cores}" OMP_PROC_BIND="${OMP_PROC_BIND:-close}"
  # Many parallel file systems are mounted without file locks; no two jobs write the same file.
  export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"
  # This part of Open MPI's file access has damaged data (issue 12718 there).
  export OMPI_MCA_fcoll="${OMPI_MCA_fcoll:-^vulcan}"
  load_modules
  mkdir -p "$WORK"
}

# make_folder OF: the folder that a phase's file or folder OF lies in.
make_folder() {
  mkdir -p "$(dirname "$1")"
  stripe "$(dirname "$1")"
}

# --- running the program and passing signals on to it ------------------------------------------

child=          # the launcher while it runs
stop_signal=    # what asks the program of this phase to stop; empty: it runs on
interrupted=no  # a signal came while waiting
warned=no       # the time limit is near
cancelled=no    # the job was asked to end, and not because of its time limit

forward() {
  if [[ -n $child ]]; then kill -s "$1" "$child" 2>/dev/null || true; fi
}

on_warning() {
  interrupted=yes
  if [[ $warned == no ]]; then
    warned=yes
    say "the time limit is near; stopping the program"
    forward "$stop_signal"
  fi
}

# Not passed on as SIGTERM: mpirun would kill the ranks before they wrote a checkpoint.
on_cancel() {
  interrupted=yes
  if [[ $warned == no ]]; then cancelled=yes; fi
  say "asked to end; stopping the program"
  forward "$stop_signal"
}

on_checkpoint() {
  interrupted=yes
  forward USR1
}

# run_program OUTPUT COMMAND...: stdout goes to the file OUTPUT, if not empty. Returns the exit
# code; 75 where the job is to end before it has begun.
run_program() {
  local output="$1" code
  shift
  if [[ $warned == yes || $cancelled == yes ]]; then return 75; fi
  say "$*"
  if [[ -n $output ]]; then "$@" >"$output" & else "$@" & fi
  child=$!
  while :; do # a trapped signal ends `wait`, not the program
    interrupted=no
    code=0
    wait "$child" || code=$?
    [[ $interrupted == yes ]] || break
  done
  child=
  return "$code"
}

timer=
start_timer() {
  (
    nap=
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    sleep "$1" &
    nap=$!
    wait "$nap"
    kill -s USR2 "$$"
  ) &
  timer=$!
}

stop_timer() {
  if [[ -n $timer ]]; then kill "$timer" 2>/dev/null || true; fi
  timer=
}
trap stop_timer EXIT

# --- the phases ---------------------------------------------------------------------------------

# Jobs that wait for a phase are listed in a file, so that they can be made to wait for its next
# job.
followers_of() {
  case $1 in
    sensitivity) echo "$SENSITIVITY.followers" ;;
    database) echo "$DATABASE.followers" ;;
    search) echo "$RUN.followers" ;;
    rounds) echo "$ROUNDS.followers" ;;
    prune) echo "$STAGES.followers" ;;
    train) echo "$TRAINED.followers" ;;
  esac
}

# Where a phase has got to, as its files tell: a line is added for each generation, update, layer or block, a file
# with each step. What cannot be told counts as new.
progress_of() {
  local of=() file text
  case $1 in
    sensitivity) of=("$SENSITIVITY.part") ;;
    database) of=("$DATABASE.part") ;;
    search) of=("$RUN") ;;
    rounds) of=("$ROUNDS") ;;
    prune) of=("$STAGES") ;;
    train) of=("$TRAINED") ;;
  esac
  find "${of[@]}" -name '*.lock' -prune -o -type f -print 2>/dev/null | sort | while read -r file; do
    if [[ $1 =~ ^(rounds|prune)$ ]]; then echo "$file"; fi
    case $file in
      *.part) # its first line says how much is done
        if text=$("$GALAPAGOS" info "$file" 2>/dev/null); then echo "${text%%$'\n'*}"; else date +%s%N; fi
        ;;
      */metrics.jsonl | */archive.jsonl) wc -l <"$file" ;;
    esac
  done || true
}

# The phase was stopped before its end: submit it again, and let those wait for the new job that
# wait for this one. A second job that got nothing done is the last: the next would get as far. (The first
# may have waited, for what a run that was killed has left or for a slow file system.)
continue_later() {
  local phase="$1" before="$2" after next job followers
  if [[ $cancelled == yes ]]; then
    fail 75 "cancelled, so not submitted again; the next $phase job goes on from here"
  fi
  after=$(progress_of "$phase")
  if [[ $after != "$before" ]]; then STALLED=0; else STALLED=$((STALLED + 1)); fi
  if ((STALLED > 1)); then
    fail 75 "two $phase jobs in a row got nothing done within their time limit, so not submitted again: give them \
more time (TIME_LIMIT), more ranks, or less to do at a time"
  fi
  if ((RESTARTS >= MAX_RESTARTS)); then
    fail 75 "submitted again $RESTARTS times already, which is MAX_RESTARTS; submit it to go on"
  fi
  next=$(RESTARTS=$((RESTARTS + 1)) STALLED=$STALLED submit "$phase") ||
    fail 75 "could not submit the next job; submit the $phase again to go on"
  say "$phase goes on in job $next"
  followers=$(followers_of "$phase")
  if [[ -f $followers ]]; then
    while read -r job; do
      wait_for "$job" "$next" || say "job $job could not be made to wait for $next; submit it again"
    done <"$followers"
  fi
  exit 75 # never 0: what waits for success must not begin yet
}

# read_words ARRAY TEXT: options of a phase. A job that goes on does not begin anew.
read_words() {
  local -n words_read="$1"
  local word all=()
  read -r -a all <<<"$2"
  words_read=()
  for word in "${all[@]}"; do
    if [[ $word != --fresh || $RESTARTS == 0 ]]; then words_read+=("$word"); fi
  done
}

run_sensitivity() {
  local left="$1" files=() words=() limit=()
  check_sensitivity
  read_files files "$CALIBRATION"
  read_words words "$SENSITIVITY_OPTIONS"
  if [[ -n $left ]]; then limit=(--max-walltime "$(to_clock "$left")"); fi
  make_folder "$SENSITIVITY"
  run_program "" "${launch[@]}" "$GALAPAGOS" sensitivity ${CONFIG:+--config "$CONFIG"} \
    --model "$MODEL" --calibration "${files[@]}" --output "$SENSITIVITY" \
    ${COLLECTIVES:+--collectives "$COLLECTIVES"} "${words[@]}" "${limit[@]}"
}

run_database() {
  local left="$1" files=() words=() limit=()
  read_files files "$CALIBRATION"
  read_words words "$DATABASE_OPTIONS"
  if [[ -n $left ]]; then limit=(--max-walltime "$(to_clock "$left")"); fi
  make_folder "$DATABASE"
  run_program "" "${launch[@]}" "$GALAPAGOS" database ${CONFIG:+--config "$CONFIG"} \
    --model "$MODEL" --calibration "${files[@]}" --output "$DATABASE" ${SENSITIVITY:+--sensitivity "$SENSITIVITY"} \
    ${COLLECTIVES:+--collectives "$COLLECTIVES"} "${words[@]}" "${limit[@]}"
}

# Sets `replicas` to what search, training and evaluation are told about replicas.
replica_words() {
  replicas=(${SHARDS:+--shards "$SHARDS"} ${COLLECTIVES:+--collectives "$COLLECTIVES"})
}

run_search() {
  local left="$1" files=() words=() replicas=() limit=()
  read_files files "$CALIBRATION"
  read_words words "$SEARCH_OPTIONS"
  replica_words
  make_folder "$RUN"
  if [[ -n $left ]]; then limit=(--max-walltime "$(to_clock "$left")"); fi
  run_program "" "${launch[@]}" "$GALAPAGOS" search ${CONFIG:+--config "$CONFIG"} --model "$MODEL" \
    --database "$DATABASE" --calibration "${files[@]}" --output "$RUN" \
    ${ISLANDS:+--islands "$ISLANDS"} ${OFFSPRING:+--offspring "$OFFSPRING"} \
    ${SURVIVORS:+--survivors "$SURVIVORS"} ${GENERATIONS:+--generations "$GENERATIONS"} \
    ${SEED:+--seed "$SEED"} "${replicas[@]}" "${words[@]}" "${limit[@]}"
}

run_rounds() {
  local left="$1" files=() held_out=() words=() limit=()
  if [[ -z $HELD_OUT ]]; then fail 2 "rounds are compared on HELD_OUT, which is not set"; fi
  read_files files "$CALIBRATION"
  read_files held_out "$HELD_OUT"
  read_words words "$ROUNDS_OPTIONS"
  make_folder "$ROUNDS"
  if [[ -n $left ]]; then limit=(--max-walltime "$(to_clock "$left")"); fi
  run_program "" "${launch[@]}" "$GALAPAGOS" rounds ${CONFIG:+--config "$CONFIG"} --model "$MODEL" \
    --calibration "${files[@]}" --held-out "${held_out[@]}" --output "$ROUNDS" \
    ${COLLECTIVES:+--collectives "$COLLECTIVES"} "${words[@]}" "${limit[@]}"
}

run_prune() {
  local left="$1" files=() held_out=() words=() limit=()
  read_files files "$CALIBRATION"
  if [[ -n $HELD_OUT ]]; then
    read_files held_out "$HELD_OUT"
    held_out=(--held-out "${held_out[@]}")
  fi
  read_words words "$PRUNE_OPTIONS"
  make_folder "$STAGES"
  if [[ -n $left ]]; then limit=(--max-walltime "$(to_clock "$left")"); fi
  run_program "" "${launch[@]}" "$GALAPAGOS" prune ${CONFIG:+--config "$CONFIG"} --model "$MODEL" \
    --calibration "${files[@]}" "${held_out[@]}" --output "$STAGES" \
    ${COLLECTIVES:+--collectives "$COLLECTIVES"} "${words[@]}" "${limit[@]}"
}

run_stitch() {
  local words=()
  if [[ -e $PRUNED ]]; then # the folder is only there once it is complete
    say "the pruned model is there"
    return
  fi
  read_words words "$STITCH_OPTIONS"
  make_folder "$PRUNED"
  # shellcheck disable=SC2153 # PRUNED comes from settings.sh
  run_program "" "${launch[@]}" "$GALAPAGOS" stitch --model "$MODEL" --database "$DATABASE" \
    --assignment "$RUN/best.txt" --output "$PRUNED" ${COLLECTIVES:+--collectives "$COLLECTIVES"} "${words[@]}"
}

run_train() {
  local left="$1" files=() words=() replicas=() limit=()
  read_files files "$TRAIN_DATA"
  read_words words "$TRAIN_OPTIONS"
  replica_words
  if [[ -f $TRAINED/manifest.json ]]; then
    say "the training is complete"
    return
  fi
  make_folder "$TRAINED"
  if [[ -n $left ]]; then limit=(--max-walltime "$(to_clock "$left")"); fi
  run_program "" "${launch[@]}" "$GALAPAGOS" train ${CONFIG:+--config "$CONFIG"} --model "$PRUNED" \
    --data "${files[@]}" --output "$TRAINED" "${replicas[@]}" "${words[@]}" "${limit[@]}"
}

# The unpruned model, then the pruned one and, where it is there, the trained one against it.
run_eval() {
  local files=() words=() replicas=() name of_name=()
  read_files files "$EVAL_DATA"
  read_words words "$EVAL_OPTIONS"
  replica_words
  mkdir -p "$EVALUATION"
  for name in dense pruned trained; do
    case $name in
      dense) of_name=(--model "$MODEL") ;;
      pruned)
        of_name=(--model "$MODEL" --database "$DATABASE" --assignment "$RUN/best.txt"
          --reference "$MODEL")
        # Of prune there is a model and no assignment.
        if [[ ! -f $RUN/best.txt && -d $PRUNED ]]; then of_name=(--model "$PRUNED" --reference "$MODEL"); fi
        ;;
      trained)
        if [[ ! -d $TRAINED/model ]]; then continue; fi
        of_name=(--model "$TRAINED/model" --reference "$MODEL")
        ;;
    esac
    run_program "$EVALUATION/$name.json.part" "${launch[@]}" "$GALAPAGOS" eval --json \
      ${CONFIG:+--config "$CONFIG"} "${of_name[@]}" --data "${files[@]}" \
      "${replicas[@]}" "${words[@]}" || return
    mv "$EVALUATION/$name.json.part" "$EVALUATION/$name.json"
    cat "$EVALUATION/$name.json"
  done
}

run_phase() {
  local phase="$1" code=0 left="" before="" launch=()
  case $phase in
    # saves what is done and leaves with code 75
    sensitivity | database | search | rounds | prune | train) stop_signal=USR2 ;;
  esac
  if [[ -n $stop_signal ]]; then # before all else: without them a signal that comes early would kill the job
    trap on_warning USR2
    trap on_cancel TERM
    trap on_checkpoint USR1
  fi
  check_settings
  prepare
  if [[ -n $LAUNCHER ]]; then
    read -r -a launch <<<"$LAUNCHER"
  elif [[ $phase == stitch ]]; then
    single_launcher
  else
    default_launcher
  fi
  if [[ -n $GPU_ORDER ]]; then launch+=(env CUDA_VISIBLE_DEVICES="$GPU_ORDER"); fi # Slurm sets its own

  if [[ -n $stop_signal ]]; then
    before=$(progress_of "$phase")
    left=$(seconds_left) || left=""
    if [[ -z $left ]]; then
      say "cannot tell the time limit"
    else
      # In a short job, leave at least half of the time to the program.
      left=$((left - STOP_BEFORE > left / 2 ? left - STOP_BEFORE : left / 2))
      left=$((left > 1 ? left : 1))
      if [[ $SIGNALS_EARLY != yes ]]; then start_timer "$left"; fi
    fi
  fi

  case $phase in
    sensitivity) run_sensitivity "$left" || code=$? ;;
    database) run_database "$left" || code=$? ;;
    search) run_search "$left" || code=$? ;;
    rounds) run_rounds "$left" || code=$? ;;
    prune) run_prune "$left" || code=$? ;;
    stitch) run_stitch || code=$? ;;
    train) run_train "$left" || code=$? ;;
    eval) run_eval || code=$? ;;
    *) fail 2 "there is no phase '$phase'" ;;
  esac
  stop_timer

  if ((code == 75)) || { ((code != 0)) && [[ $warned == yes ]]; }; then continue_later "$phase" "$before"; fi
  if ((code != 0)); then fail "$code" "$phase ended with code $code"; fi
  if [[ -n $stop_signal ]]; then rm -f "$(followers_of "$phase")"; fi
  say "$phase is done"
}
