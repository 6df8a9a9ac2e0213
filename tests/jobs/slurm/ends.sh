# shellcheck shell=bash disable=SC2034,SC2154 # of common.sh
# A search on two nodes whose job is requeued, is cancelled and submitted anew, or loses a node: each goes on from where it
# was, and the end is that of an undisturbed search.
need_plain_long
export DATABASE="$T/plain/database.h5" TRAIN_DATA="" EVAL_DATA=""

begun() { (($(wc -l <"$work/run/metrics.jsonl") >= lines)); }
searching() { # searching NAME: submits search and stitch, and waits for the search's first generations
  work="$T/$1" lines=5
  on "$work" 2 1 "$root/jobs/pipeline.sh" slurm search
  job=$(job_of search)
  await 200 begun
}
ended_well() { # WHAT
  check "the assignment after $1" same "$(cksum <"$work/run/best.txt")" "$(cksum <"$T/long/run/best.txt")"
  check "the model after $1" same "$(cksum <"$work/pruned/model.safetensors")" \
    "$(cksum <"$T/long/pruned/model.safetensors")"
  check "the search went on after $1" grep -q "goes on from $work/run" <(logs "$work" search)
}
# A requeued job waits for two minutes, so that the nodes have forgotten it; these have.
at_once() {
  await 60 is "$job" PENDING
  scontrol update "JobId=$job" StartTime=now
}

searching requeued
scontrol requeue "$job"
at_once
settle 300
ended_well "a requeue"
check "one search job alone" same "$(compgen -G "$work/logs/galapagos-search-*.log")" "$work/logs/galapagos-search-$job.log"

searching cancelled
scancel "$job"
settle 100 # the stitch, too, which nothing would ever let begin
check "a cancelled job says what goes on" grep -q "cancelled, so not submitted again" <(logs "$work" search)
check "nothing of a cancelled job is in use" same "$(find "$work" -name '*.lock')" ""
check "a cancelled search has not ended" test ! -e "$work/run/best.txt"
on "$work" 2 1 "$root/jobs/pipeline.sh" slurm search
settle 300
ended_well "a cancelled job"

# A node: its daemon and all that it has started are killed.
slurmd_of() { pgrep -f "slurmd .*-N *$1( |\$)" | head -n 1; }
on_node() { # PROCESS NODE: whether it is one of the job's there
  tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | grep -cx -e "SLURM_JOB_ID=$job" -e "SLURMD_NODENAME=$2" | grep -qx 2
}
kill_node() {
  local process
  kill -s KILL "$(slurmd_of "$1")"
  for process in $(pgrep -f "$program"); do
    if on_node "$process" "$1"; then kill -s KILL "$(ps -o ppid= -p "$process" | tr -d ' ')" "$process" || true; fi
  done
}
configured() { scontrol show config | awk -v key="$1" '$1 == key { print $3 }'; }
bring_back() {
  local spool temporary
  spool=$(configured SlurmdSpoolDir) temporary=$(configured TmpFS)
  # A new start of the node would have removed them: with what is left of a killed step Slurm does not start it again.
  rm -rf "${spool//%n/$node}"/*pmix."$job".* "${temporary//%n/$node}/spmix_appdir"*"_$job."*
  "${daemon[@]}" </dev/null >/dev/null 2>&1
  scontrol update "NodeName=$node" State=RESUME 2>/dev/null || true
}
if ((EUID != 0)) || [[ -z $(slurmd_of n2) ]]; then
  echo "  no node goes down: that takes root, and nodes that run here"
else
  searching node_down
  node=$(scontrol show hostnames "$(squeue --noheader --jobs="$job" --format=%N)" | tail -n 1)
  mapfile -d '' -t daemon <"/proc/$(slurmd_of "$node")/cmdline"
  put_right=bring_back # also where this run is ended from outside
  kill_node "$node"
  scontrol update "NodeName=$node" State=DOWN Reason=killed
  at_once
  check "a job that needs two nodes waits" is "$job" PENDING
  bring_back
  put_right=:
  settle 300
  ended_well "a node that went down"
fi
unset DATABASE TRAIN_DATA EVAL_DATA
short_again
