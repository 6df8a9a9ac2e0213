#!/usr/bin/env bash
# Submits a study of how the search scales; it needs the database.
#   jobs/scaling.sh slurm|pbs|lsf [--list]
# Three series of runs, each run once in a folder of its own below STUDY:
#   ranks        the same population on STUDY_RANKS ranks each, in replicas of SHARDS (strong scaling)
#   shards       the same on STUDY_SHARDS_RANKS ranks, in replicas of STUDY_SHARDS each
#   population   STUDY_POPULATIONS, islands x offspring, on as many ranks, with several seeds
# Finished runs are left out, so that the script may be called again; unfinished ones go on.
# --list only prints the runs. Afterwards: galapagos report STUDY
# Set model, data and resources in jobs/settings.sh (NODES is worked out here).
set -euo pipefail
GALAPAGOS_JOBS="${GALAPAGOS_JOBS:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}"
scheduler="$GALAPAGOS_JOBS/${1:-}/scheduler.sh"
if (($# < 1 || $# > 2)) || [[ -z $1 || ! -f $scheduler || ${2:---list} != --list ]]; then
  echo "scaling: usage: jobs/scaling.sh slurm|pbs|lsf [--list]" >&2
  exit 2
fi
list_only="${2:-}"
# shellcheck source=/dev/null
source "$scheduler"

STUDY="${STUDY:-$WORK/scaling}"
SHARDS="${SHARDS:-1}"
STUDY_RANKS="${STUDY_RANKS:-$(for k in 1 2 4 8 16 32; do echo $((k * SHARDS)); done)}"
STUDY_POPULATION="${STUDY_POPULATION:-8x16}"               # of the series over ranks
STUDY_POPULATIONS="${STUDY_POPULATIONS:-1x8 1x32 2x16 4x16 8x16 16x16 32x16}"
STUDY_POPULATION_RANKS="${STUDY_POPULATION_RANKS:-$((16 * SHARDS))}" # of the series over populations
STUDY_SHARDS="${STUDY_SHARDS:-}"                           # as 1 2 4 8; empty: no such series
STUDY_SHARDS_RANKS="${STUDY_SHARDS_RANKS:-16}"
STUDY_GENERATIONS="${STUDY_GENERATIONS:-50}"
STUDY_STAGES="${STUDY_STAGES:-4}"                          # as many as tokens in CONFIG
STUDY_SEEDS="${STUDY_SEEDS:-0 1 2}"                        # the series over ranks takes the first
per_node_limit="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-16}"
NODES=1 RANKS_PER_NODE="$SHARDS" # worked out for each run

if [[ $list_only != --list ]]; then
  check_settings
  [[ -f $DATABASE ]] || fail 3 "there is no database '$DATABASE'; make it first"
  mkdir -p "$STUDY"
fi

seen=" "
# one_run RANKS POPULATION SEED SHARDS
one_run() {
  local ranks="$1" name job stage kept
  [[ $1 =~ ^[1-9][0-9]*$ && $3 =~ ^[0-9]+$ && $2 =~ ^([1-9][0-9]*)x([1-9][0-9]*)$ ]] ||
    fail 2 "not a run: ranks '$1', islands x offspring '$2', seed '$3'"
  ISLANDS="${BASH_REMATCH[1]}" OFFSPRING="${BASH_REMATCH[2]}" SEED="$3"
  name=$(printf 'ranks-%04d_islands-%03d_offspring-%03d_seed-%d' \
    "$ranks" "$ISLANDS" "$OFFSPRING" "$SEED")
  SHARDS="$4"
  check_shards "$ranks"
  if ((SHARDS > 1)); then name+="_shards-$SHARDS"; fi
  if [[ $seen == *" $name "* ]]; then return; fi # it belongs to both series
  seen+="$name "
  RUN="$STUDY/$name"
  SURVIVORS=1 # each stage keeps half of the candidates, as 8 4 2 1 does with 16
  for ((stage = STUDY_STAGES - 1; stage > 0; --stage)); do
    kept=$((OFFSPRING >> stage))
    SURVIVORS="$((kept > 0 ? kept : 1)) $SURVIVORS"
  done
  GENERATIONS="$STUDY_GENERATIONS"
  RANKS_PER_NODE=$((ranks < per_node_limit ? ranks : per_node_limit))
  ((ranks % RANKS_PER_NODE == 0)) || fail 2 "$ranks ranks do not fill nodes of $RANKS_PER_NODE"
  NODES=$((ranks / RANKS_PER_NODE))
  if [[ $list_only == --list ]]; then
    echo "$name"
  elif [[ -f $RUN/best.txt ]]; then
    say "$name is finished"
  else
    export RUN ISLANDS OFFSPRING SURVIVORS GENERATIONS SEED SHARDS NODES RANKS_PER_NODE THREADS
    job=$(submit search) || fail 1 "could not submit $name"
    say "$name is job $job"
  fi
}

read -r first_seed _ <<<"$STUDY_SEEDS"
shards="$SHARDS"
for ranks in $STUDY_RANKS; do one_run "$ranks" "$STUDY_POPULATION" "$first_seed" "$shards"; done
for other in $STUDY_SHARDS; do
  one_run "$STUDY_SHARDS_RANKS" "$STUDY_POPULATION" "$first_seed" "$other"
done
for population in $STUDY_POPULATIONS; do
  for seed in $STUDY_SEEDS; do one_run "$STUDY_POPULATION_RANKS" "$population" "$seed" "$shards"; done
done
