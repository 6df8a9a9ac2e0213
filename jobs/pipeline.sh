#!/usr/bin/env bash
# Submits the whole way from a model to its evaluated pruned form, each job to begin when the one
# before it has succeeded: database -> search -> stitch, with SENSITIVITY sensitivity before them, with
# TRAIN_DATA train after them, and with EVAL_DATA eval at the end.
#   jobs/pipeline.sh slurm|pbs|lsf [PHASE to begin with, else the first]
# Set model and data in jobs/settings.sh. Submitted again, each phase goes on from where it is.
set -euo pipefail
GALAPAGOS_JOBS="${GALAPAGOS_JOBS:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}"
scheduler="$GALAPAGOS_JOBS/${1:-}/scheduler.sh"
if (($# < 1 || $# > 2)) || [[ -z $1 || ! -f $scheduler ]]; then
  echo "pipeline: usage: jobs/pipeline.sh slurm|pbs|lsf [sensitivity|database|search|stitch|train|eval]" >&2
  exit 2
fi
# shellcheck source=/dev/null
source "$scheduler"
first="${2:-}"
if [[ -z $first ]]; then first="${SENSITIVITY:+sensitivity}" && first="${first:-database}"; fi
[[ $first =~ ^(sensitivity|database|search|stitch|train|eval)$ ]] || fail 2 "there is no phase '$first'"
check_settings
if [[ $first == sensitivity ]]; then check_sensitivity; fi
mkdir -p "$WORK" ${SENSITIVITY:+"$(dirname "$SENSITIVITY")"} "$(dirname "$DATABASE")" \
  "$(dirname "$RUN")" "$(dirname "$TRAINED")"

# begin PHASE [JOB]: submits it and sets `job`
begin() {
  job=$(submit "$@") || fail 1 "could not submit the $1"
  say "$1 is job $job${2:+, after $2}"
}

# The lists of followers are for jobs that go on in another one: those who wait then wait for that.
job=""
if [[ $first == sensitivity ]]; then begin sensitivity; fi
if [[ $first =~ ^(sensitivity|database)$ ]]; then
  begin database "$job"
  if [[ $first == sensitivity ]]; then echo "$job" >"$SENSITIVITY.followers"; fi
fi
if [[ $first =~ ^(sensitivity|database|search)$ ]]; then
  begin search "$job"
  if [[ $first != search ]]; then echo "$job" >"$DATABASE.followers"; fi
  : >"$RUN.followers"
fi
search_job="$job"
if [[ $first =~ ^(sensitivity|database|search|stitch)$ ]]; then
  begin stitch "$search_job"
  if [[ -n $search_job ]]; then echo "$job" >>"$RUN.followers"; fi
fi
train_job=""
if [[ -n $TRAIN_DATA && $first != eval ]]; then
  begin train "$job"
  train_job="$job"
  : >"$TRAINED.followers"
fi
if [[ -z $EVAL_DATA ]]; then
  say "no evaluation: EVAL_DATA is not set"
elif [[ -n $train_job ]]; then
  begin eval "$train_job"
  echo "$job" >>"$TRAINED.followers"
else
  begin eval "$search_job"
  if [[ -n $search_job ]]; then echo "$job" >>"$RUN.followers"; fi
fi
