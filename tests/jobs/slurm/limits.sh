# shellcheck shell=bash disable=SC2154 # of common.sh
# The pipeline on two nodes under limits that do not do: each phase stops, submits itself again and goes on, what waits for
# it waits for the new job, and the end is that of an undisturbed run. The search is stopped by its limit of a minute, near
# which Slurm signals it at its next look at it, in less than 30 s; the others, which are done sooner, get the same signal
# as soon as they have begun.
need_plain_long
work="$T/limits"
TIME_LIMIT=00:01:00 STOP_BEFORE=55 on "$work" 2 1 "$root/jobs/pipeline.sh" slurm
for phase in sensitivity database train; do
  job=$(job_of "$phase")
  begun() { grep -q "galapagos.* $phase " <(logs "$work" "$phase"); }
  await 400 begun
  scancel --batch --signal=USR2 "$job"
done
settle 200
for phase in sensitivity database search train; do
  again=$(grep -c "$phase goes on in job" <(logs "$work" "$phase")) || true
  echo "  $phase went on in $again further jobs"
  check "$phase goes on in another job" test "$again" -gt 0
done
check "the result after limits" same "$(results "$work")" "$(results "$T/long")"
check "no list of followers stays" same "$(compgen -G "$work/*.followers")" ""
short_again
