# shellcheck shell=bash disable=SC2154 # of common.sh
# A time limit in which no generation fits: the search is submitted again once and then no more, and says why.
need_plain
sed 's/^tokens = 256 512/tokens = 2048 2048/' "$T/config.ini" >"$T/large.ini"
work="$T/short"
DATABASE="$T/plain/database.h5" TRAIN_DATA="" EVAL_DATA="" TIME_LIMIT=00:01:00 STOP_BEFORE=55 OFFSPRING=20000 \
  on "$work" 2 1 env CONFIG="$T/large.ini" "$root/jobs/pipeline.sh" slurm search
settle 250
check "why it is not submitted again" grep -q "got nothing done within their time limit" <(logs "$work" search)
check "how often it was submitted again" same "$(grep -c "goes on in job" <(logs "$work" search))" 1
check "nothing came after it" test ! -e "$work/pruned"
