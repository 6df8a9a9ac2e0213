# shellcheck shell=bash disable=SC2034,SC2154 # `launch` and SIGNALS_EARLY are for common.sh
# Slurm: see ../common.sh for what these functions do.
set -euo pipefail
GALAPAGOS_JOBS="${GALAPAGOS_JOBS:-${SLURM_SUBMIT_DIR:-$PWD}/jobs}"
# shellcheck source=/dev/null
source "$GALAPAGOS_JOBS/common.sh"
SIGNALS_EARLY=yes

submit() {
  local options=(--parsable --export=ALL --job-name="galapagos-$1") job
  mkdir -p "$LOGS"
  options+=(--output="$LOGS/%x-%j.log")
  if [[ -n $ACCOUNT ]]; then options+=(--account="$ACCOUNT"); fi
  if [[ -n $QUEUE ]]; then options+=(--partition="$QUEUE"); fi
  # What waits for a job that fails would stay in the queue for ever.
  if [[ -n ${2:-} ]]; then options+=(--dependency="afterok:$2" --kill-on-invalid-dep=yes); fi
  if [[ -n $THREADS ]]; then options+=(--cpus-per-task="$THREADS"); fi
  if [[ $1 != stitch ]]; then
    if [[ -n $NODES ]]; then options+=(--nodes="$NODES" --ntasks-per-node="$RANKS_PER_NODE"); fi
    if [[ -n $GPUS_PER_NODE ]]; then options+=(--gpus-per-node="$GPUS_PER_NODE"); fi
  fi
  if [[ $1 =~ ^(sensitivity|database|search|rounds|prune|train)$ ]]; then
    if [[ -n $TIME_LIMIT ]]; then options+=(--time="$TIME_LIMIT"); fi
    options+=(--signal="B:USR2@$STOP_BEFORE") # to the shell of the job
  fi
  read_submit_options
  job=$(sbatch "${options[@]}" "${submit_words[@]}" "$GALAPAGOS_JOBS/slurm/$1.sbatch") || return
  echo "${job%%;*}"
}

wait_for() { scontrol update "JobId=$1" "Dependency=afterok:$2"; }

seconds_left() {
  to_seconds "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%L | tr -d ' ')"
}

default_launcher() {
  export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
  export SRUN_CPUS_PER_TASK="$OMP_NUM_THREADS" # since Slurm 22.05 srun does not take it from sbatch
  launch=(srun --kill-on-bad-exit=1)
  if [[ $SRUN_MPI != default ]]; then launch=(srun --mpi="$SRUN_MPI" --kill-on-bad-exit=1); fi
  # Every rank sees all GPUs of its node and takes its own: if it saw only its own, ranks of a node
  # could not share memory.
  if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then launch+=(--gpu-bind=none); fi
}

single_launcher() {
  default_launcher
  launch+=(--nodes=1 --ntasks=1)
}
