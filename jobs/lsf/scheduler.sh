# shellcheck shell=bash disable=SC2034,SC2154 # `launch` and SIGNALS_EARLY are for common.sh
# LSF: see ../common.sh for what these functions do.
set -euo pipefail
GALAPAGOS_JOBS="${GALAPAGOS_JOBS:-${LS_SUBCWD:-$PWD}/jobs}"
# shellcheck source=/dev/null
source "$GALAPAGOS_JOBS/common.sh"
SIGNALS_EARLY=yes

submit() {
  local options=(-J "galapagos-$1") text
  local nodes="$NODES" per_node="$RANKS_PER_NODE" gpus="$GPUS_PER_NODE"
  mkdir -p "$LOGS"
  options+=(-o "$LOGS/galapagos-$1-%J.log")
  if [[ -n $ACCOUNT ]]; then options+=(-P "$ACCOUNT"); fi
  if [[ -n $QUEUE ]]; then options+=(-q "$QUEUE"); fi
  if [[ -n ${2:-} ]]; then options+=(-w "done($2)"); fi
  if [[ $1 == stitch ]]; then nodes=1 per_node=1 gpus=""; fi
  if [[ -n $NODES ]]; then
    options+=(-n "$((nodes * per_node))" -R "span[ptile=$per_node] affinity[core($THREADS)]")
  fi
  if [[ -n $gpus ]]; then options+=(-gpu "num=$gpus:mode=shared"); fi
  if [[ $1 =~ ^(sensitivity|database|search|rounds|prune|train)$ ]]; then
    # Times are in minutes; the signal goes to all processes of the job.
    if [[ -n $TIME_LIMIT ]]; then options+=(-W "$(($(to_seconds "$TIME_LIMIT") / 60))"); fi
    options+=(-wa USR2 -wt "$(((STOP_BEFORE + 59) / 60))")
  fi
  read_submit_options
  text=$(bsub "${options[@]}" "${submit_words[@]}" <"$GALAPAGOS_JOBS/lsf/$1.lsf") || return
  [[ $text =~ \<([0-9]+)\> ]] || return
  echo "${BASH_REMATCH[1]}"
}

wait_for() { bmod -w "done($2)" "$1"; }

# LSF tells hours and minutes, then L where they come from the run limit.
seconds_left() {
  local left
  left=$(bjobs -noheader -o time_left "$LSB_JOBID")
  [[ $left =~ ^([0-9]+):([0-9]+)\ *L ]] || return
  echo $((10#${BASH_REMATCH[1]} * 3600 + 10#${BASH_REMATCH[2]} * 60))
}

# The flags of Open MPI; other MPI libraries place and bind ranks with their own: set LAUNCHER.
default_launcher() {
  local hosts # name and ranks of each host
  read -r -a hosts <<<"$LSB_MCPU_HOSTS"
  export OMP_NUM_THREADS="${THREADS:-1}" # LSF does not tell; the job file sets it
  launch=(mpirun -n "$LSB_DJOB_NUMPROC" --map-by "ppr:${hosts[1]}:node:PE=$OMP_NUM_THREADS"
    --bind-to core -x OMP_NUM_THREADS -x OMP_PLACES -x OMP_PROC_BIND -x HDF5_USE_FILE_LOCKING)
}

single_launcher() {
  export OMP_NUM_THREADS="${THREADS:-1}"
  launch=(mpirun -n 1 --bind-to none)
}
