# shellcheck shell=bash disable=SC2154 # of common.sh
# The whole pipeline on one node and on two, with as many ranks: it ends in what the same commands end in without Slurm.
need_plain
for nodes in 1 2; do
  work="$T/chain-$nodes"
  on "$work" "$nodes" $((2 / nodes)) "$root/jobs/pipeline.sh" slurm
  settle 300
  check "the result on $nodes nodes" same "$(results "$work")" "$(results "$T/plain")"
  check "no list of followers stays on $nodes nodes" same "$(compgen -G "$work/*.followers")" ""
done
