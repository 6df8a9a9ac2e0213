# shellcheck shell=bash disable=SC2034,SC2154 # `launch` and SIGNALS_EARLY are for common.sh
# PBS Professional and OpenPBS: see ../common.sh for what these functions do.
set -euo pipefail
GALAPAGOS_JOBS="${GALAPAGOS_JOBS:-${PBS_O_WORKDIR:-$PWD}/jobs}"
# shellcheck source=/dev/null
source "$GALAPAGOS_JOBS/common.sh"
SIGNALS_EARLY=no # PBS signals only at the limit itself, so the job keeps the time on its own

submit() {
  local options=(-V -N "galapagos-$1") chunk
  local nodes="$NODES" per_node="$RANKS_PER_NODE" gpus="$GPUS_PER_NODE"
  mkdir -p "$LOGS"
  options+=(-o "$LOGS/")
  if [[ -n $ACCOUNT ]]; then options+=(-A "$ACCOUNT"); fi
  if [[ -n $QUEUE ]]; then options+=(-q "$QUEUE"); fi
  if [[ -n ${2:-} ]]; then options+=(-W "depend=afterok:$2"); fi
  if [[ $1 == stitch ]]; then nodes=1 per_node=1 gpus=""; fi
  if [[ -n $NODES ]]; then
    chunk="ncpus=$((per_node * THREADS)):mpiprocs=$per_node:ompthreads=$THREADS"
    options+=(-l "select=$nodes:$chunk${gpus:+:ngpus=$gpus}")
  fi
  if [[ -n $TIME_LIMIT && $1 =~ ^(sensitivity|database|search|rounds|prune|train)$ ]]; then
    options+=(-l "walltime=$(to_clock "$(to_seconds "$TIME_LIMIT")")")
  fi
  read_submit_options
  qsub "${options[@]}" "${submit_words[@]}" "$GALAPAGOS_JOBS/pbs/$1.pbs"
}

wait_for() { qalter -W "depend=afterok:$2" "$1"; }

seconds_left() {
  local limit
  limit=$(qstat -f "$PBS_JOBID" | sed -n 's/^ *Resource_List\.walltime = //p')
  limit=$(to_seconds "$limit") || return
  echo $((limit - SECONDS))
}

# The flags of Open MPI; other MPI libraries place and bind ranks with their own: set LAUNCHER.
default_launcher() {
  local ranks nodes
  ranks=$(wc -l <"$PBS_NODEFILE") # one line a rank
  nodes=$(sort -u "$PBS_NODEFILE" | wc -l)
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # PBS sets it from ompthreads
  launch=(mpirun -n "$ranks" --map-by "ppr:$((ranks / nodes)):node:PE=$OMP_NUM_THREADS"
    --bind-to core -x OMP_NUM_THREADS -x OMP_PLACES -x OMP_PROC_BIND -x HDF5_USE_FILE_LOCKING)
}

single_launcher() {
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
  launch=(mpirun -n 1 --bind-to none)
}
