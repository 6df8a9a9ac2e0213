#!/usr/bin/env bash
# Tests tools/scaling_study.py with a stand-in of the program: which commands it runs and resumes, its table and report,
# and what it says of bad files. Leaves with 77 (skipped) where there is no Python.
#   bash tests/tools/test_scaling_study.sh
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
  echo "skipped: no Python 3.8 or later"
  exit 77
fi
T="$(mktemp -d)"
trap 'rm -rf "$T"' EXIT
export T PYTHONDONTWRITEBYTECODE=1
failures=0
failed() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }
study() { (cd "$T" && "$python" "$root/tools/scaling_study.py" "$@" >"$T/out" 2>"$T/err"); }

# launch RANKS PROGRAM...: as mpirun. The program notes its call and leaves what a search leaves; its loss is by its options.
cat >"$T/launch" <<'STUB'
#!/usr/bin/env bash
export RANKS=$1
exec "${@:2}"
STUB
cat >"$T/galapagos" <<'STUB'
#!/usr/bin/env bash
if [[ $1 == report ]]; then echo "$2" >"$4"; exit; fi
echo "$RANKS $*" >>"$T/calls"
command=$1
while (($#)); do
  case $1 in --*) name=${1#--} name=${name//-/_}; printf -v "o_$name" '%s' "${2:-}" ;; esac
  shift
done
if [[ $command == eval ]]; then echo '{"kl": 0.'$(($(<"$o_assignment")))', "perplexity": 2.5}'; exit; fi
mkdir -p "$o_output"
if [[ -e $T/stop && ! -e $o_output/metrics.jsonl ]]; then touch "$o_output/metrics.jsonl"; exit 75; fi
if [[ -e $T/fail ]]; then echo "galapagos: error: no such thing" >&2; exit 3; fi
: >"$o_output/metrics.jsonl" >"$o_output/candidates.jsonl"
for ((g = 1; g <= o_generations; ++g)); do
  for ((i = 0; i < o_islands; ++i)); do
    levels=",\"levels\":[$i,$g,0]"
    [[ $o_strategy == racing ]] || {
      for stage in 1 2; do
        echo "{\"generation\":$g,\"island\":$i,\"stage\":$stage,\"fitness\":0.$stage,\"levels\":[$i,$((stage * i)),0]}"
      done >>"$o_output/candidates.jsonl"
      levels=
    }
    echo "{\"generation\":$g,\"island\":$i,\"evaluations\":$((g * o_offspring)),\"tokens\":$g,\"best\":1.$((9 - g % 9)),\"elapsed\":$g$levels}" \
      >>"$o_output/metrics.jsonl"
  done
done
echo "$((o_offspring * 10 + o_seed))" >"$o_output/best.txt"
cat >"$o_output/manifest.json" <<END
{"strategy": "$o_strategy", "ranks": $RANKS, "islands": $o_islands, "seed": $o_seed, "options": {"offspring": $o_offspring},
 "generations": $o_generations, "evaluations": $((o_generations * o_offspring * o_islands)),
 "seconds": $((100 / RANKS)), "best": {"fitness": 0.5}, "phases": {"waiting": {"share": 0.1}}}
END
STUB
chmod +x "$T/launch" "$T/galapagos"
cat >"$T/study.ini" <<'END'
[study]
output = runs of mine
program = ./galapagos
launcher = ./launch {ranks}
strategies = evolution racing
offspring = 4 8
islands = 1 2
ranks = 1 2
seeds = 0 1
evaluations = 40
held-out = held.jsonl
[search]
model = a
database = b
calibration = c.jsonl "d e.jsonl"
add-bos = true
recompute = false
[strategy evolution]
survivors = 2 1
evaluations-beyond-offspring = 2
END

study study.ini --dry-run || failed "dry run: $(cat "$T/err")"
[[ ! -e $T/calls && ! -e "$T/runs of mine" ]] || failed "a dry run runs nothing"
(($(grep -c ' search ' "$T/out") == 32)) || failed "32 searches"
grep -qF -- "./launch 2 ./galapagos search --model a --database b --calibration c.jsonl 'd e.jsonl' --add-bos --survivors 2 1 \
--strategy evolution --islands 2 --offspring 4 --generations 3 --seed 1 \
--output 'runs of mine/evolution_ranks-0002_islands-002_offspring-004_seed-1'" "$T/out" || failed "a search's command"
grep -qF -- "--data held.jsonl --add-bos --json" "$T/out" || failed "an evaluation's command"

# One that is stopped, then one that fails: each ends the study with one line, and the next call goes on.
touch "$T/stop"
study study.ini && failed "a search that stops"
[[ $(wc -l <"$T/err") == 1 && $(cat "$T/err") == *"stopped early"* ]] || failed "of one that stops: $(cat "$T/err")"
rm "$T/stop"
touch "$T/fail"
study study.ini && failed "a search that fails"
[[ $(wc -l <"$T/err") == 1 && $(cat "$T/err") == *"no such thing"* ]] || failed "of one that fails: $(cat "$T/err")"
rm "$T/fail" "$T/calls"
study study.ini || failed "the study: $(cat "$T/err")"
(($(grep -c ' search ' "$T/calls") == 32)) || failed "each search once"
(($(grep -c ' eval ' "$T/calls") == 4)) || failed "each best once"
table="$T/runs of mine/results.csv"
(($(wc -l <"$table") == 33)) || failed "a row for each run"
grep -q '^evolution_ranks-0002_islands-002_offspring-004_seed-1,evolution,2,4,2,1,24,6,50.000,0.0277778,0.5,0.41,2.5,2.000,1.0000,0.1000' \
  "$table" || failed "a row: $(grep '^evolution_ranks-0002_islands-002_offspring-004_seed-1' "$table")"
grep -q '^racing_ranks-0001_islands-002_offspring-008_seed-0,.*,0.80,2.5,1.000,1.0000\|^racing_ranks-0001_islands-002_offspring-008_seed-0,.*,0.8,2.5,1.000,1.0000' \
  "$table" || failed "a row of a race"
[[ $(<"$T/runs of mine/report.html") == "runs of mine" ]] || failed "report.html"
rm "$T/calls"
study study.ini || failed "a second call"
[[ ! -e $T/calls ]] || failed "what has ended is not run again"
rm "$T/runs of mine/racing_ranks-0001_islands-001_offspring-004_seed-0/manifest.json"
study study.ini --only-draw || failed "drawing alone"
(($(wc -l <"$table") == 32)) || failed "without the one that has not ended"
sed -i 's/^evaluations = .*/evaluations = 80/' "$T/study.ini"
study study.ini || failed "more evaluations"
(($(grep -c ' search ' "$T/calls") == 32)) || failed "all go on where more is asked for"

# Bad files: one line each, code 3.
bad() { # WHAT EDIT WORDS
  local code=0
  sed "$2" "$T/study.ini" >"$T/bad.ini"
  study bad.ini --dry-run || code=$?
  [[ $code == 3 && $(wc -l <"$T/err") == 1 && $(cat "$T/err") == *"$3"* ]] || failed "$1: code $code, $(cat "$T/err")"
}
bad "a number" 's/^offspring = .*/offspring = 4 few/' "'few' is no whole number"
bad "none" 's/^ranks = .*/ranks = 0/' "'0' is no whole number from 1 on"
bad "an empty axis" 's/^islands = .*/islands =/' "has no islands"
bad "a key" 's/^islands = /island = /' "has no key 'island'"
bad "a section" 's/^\[strategy evolution\]/[evolution]/' "no section [evolution]"
bad "no section" 's/^\[search\]/[eval]/' "no section [search]"
bad "no length" '/^evaluations = /d' "either evaluations or generations"
bad "the model" '/^model = /d' "[search] has no model"
bad "an own option" 's/^model = .*/&\nseed = 4/' "sets seed"
bad "a launcher" 's/^launcher = .*/launcher = run {ranks} {nodes}/' "cannot be read"
bad "quotes" 's/^launcher = .*/launcher = run "{ranks}/' "cannot be read"
bad "twice" 's/^islands = .*/&\n&/' "islands"
bad "no INI file" '1s/.*/study/' "bad.ini"
study there-is-none.ini && failed "no file"
grep -q 'there-is-none.ini: No such file' "$T/err" || failed "no file: $(cat "$T/err")"

if ((failures > 0)); then
  echo "$failures checks failed" >&2
  exit 1
fi
echo "the scaling study works"
