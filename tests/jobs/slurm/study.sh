# shellcheck shell=bash disable=SC2154 # of common.sh
# The study of how the search scales, over ranks on one node and two and over populations, and what is drawn of it.
need_plain
work="$T/study"
study() {
  DATABASE="$T/plain/database.h5" on "$work" 1 1 env STUDY_RANKS="1 2" STUDY_POPULATION=1x4 STUDY_POPULATIONS="1x4 2x4" \
    STUDY_POPULATION_RANKS=2 STUDY_GENERATIONS=10 STUDY_STAGES=2 STUDY_SEEDS=3 "$root/jobs/scaling.sh" slurm "$@"
}
study
settle 200
mapfile -t runs < <(study --list)
check "runs of the study" test "${#runs[@]}" = 3
for run in "${runs[@]}"; do check "$run" test -s "$work/scaling/$run/best.txt"; done
check "ranks do not change the result" same "$(cksum <"$work/scaling/${runs[0]}/best.txt")" \
  "$(cksum <"$work/scaling/${runs[1]}/best.txt")"
study
check "finished runs are left out" same "$(jobs_here)" ""
check "the page" "$program" report "$work/scaling" --output "$T/study.html"
check "the page has the runs" grep -q "${runs[0]##*/}" "$T/study.html"
