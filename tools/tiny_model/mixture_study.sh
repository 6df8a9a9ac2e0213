#!/usr/bin/env bash
# What a mixture loses with half of its experts' parameters, on text that no way of pruning has seen: columns of all experts
# alike, whole experts of least score, and assignments by end losses and by evolution over columns, of each expert or alike
# in a layer, over whole experts and over both. Attention stays whole. Writes FOLDER/table.md and prints it; what is done
# already is not done again.
#   tools/tiny_model/mixture_study.sh MODEL FOLDER [SEEDS = 3]
# Environment: GALAPAGOS, the program; RANKS (1); CALIBRATION and HELD_OUT, texts, the tiny model's where not given;
# COLUMNS and EXPERT, columns removed in the levels of an expert where some stay (8 to 56 of 64), and all of them (64), as in
# mixture.json; SENSITIVITY_TOKENS (16384); GENERATIONS (20) of 16 offspring, with TOKENS of evolution's stages (1024 2048
# 4096); STRATEGIES of search (evolution), as "evolution racing".
set -euo pipefail
if (($# < 2)); then sed -n '2,11p' "$0" >&2; exit 2; fi
model=$1 folder=$2 seeds=${3:-3}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
galapagos=${GALAPAGOS:-$root/build/release/src/app/galapagos}
calibration=${CALIBRATION:-$root/tests/data/text/tiny_calibration.jsonl}
held_out=${HELD_OUT:-$root/tests/data/text/tiny_heldout.jsonl}
launch=("$galapagos")
if ((${RANKS:-1} > 1)); then launch=(mpirun --oversubscribe -n "$RANKS" "$galapagos"); fi
text=(--model "$model" --calibration "$calibration" --sequence-length 256 --log-level warning)
half=(--only ffn --target-sparsity 0.5)
mkdir -p "$folder"

# step NAME WORDS...: runs a command unless its mark is there, and notes its wall time.
step() {
  local name=$1 begin=$SECONDS
  shift
  [[ -e $folder/$name.done ]] && return
  "${launch[@]}" "$@"
  printf '%s\n' $((SECONDS - begin)) >"$folder/$name.done"
}

evaluate() { # name of the result, database, assignment
  [[ -e $folder/$1.json ]] && return
  "${launch[@]}" eval --model "$model" --database "$folder/$2.h5" --assignment "$3" --data "$held_out" \
    --reference "$model" --sequence-length 256 --log-level warning --json >"$folder/$1.json.part"
  mv "$folder/$1.json.part" "$folder/$1.json"
}

assign() { # name of the result, database, further options
  local name=$1 database=$2
  shift 2
  [[ -e $folder/$name.txt ]] || "${launch[@]}" assign --model "$model" --database "$folder/$database.h5" "${half[@]}" \
    --output "$folder/$name.txt" --log-level warning "$@"
  evaluate "$name" "$database" "$folder/$name.txt"
}

figure() { sed -n "s/^  \"$2\": \([^,]*\),*\$/\1/p" "$folder/$1.json"; }

# row TITLE RESULTS...: KL and perplexity, of several results their mean and, in brackets, the least and the greatest.
row() {
  local title=$1 result
  shift
  for result in "$@"; do printf '%s %s\n' "$(figure "$result" kl)" "$(figure "$result" perplexity)"; done |
    awk -v title="$title" '
      { kl[NR] = $1; perplexity[NR] = $2 }
      function show(values, digits,   i, sum, least, most) {
        least = most = values[1]
        for (i = 1; i <= NR; ++i) {
          sum += values[i]
          if (values[i] < least) least = values[i]
          if (values[i] > most) most = values[i]
        }
        if (NR == 1) return sprintf("%.*f", digits, sum)
        return sprintf("%.*f (%.*f to %.*f)", digits, sum / NR, digits, least, digits, most)
      }
      END { printf "| %s | %s | %s |\n", title, show(kl, 4), show(perplexity, 2) }'
}

# Attention has levels, too, of which none is used.
step sensitivity sensitivity "${text[@]}" --calibration-tokens "${SENSITIVITY_TOKENS:-16384}" --output "$folder/sensitivity.h5"
levels() { # name, further options
  local name=$1
  shift
  step "$name" database "${text[@]}" --sensitivity "$folder/sensitivity.h5" --output "$folder/$name.h5" --attn-removed "0 16" "$@"
}
columns=${COLUMNS:-8 16 24 32 40 48 56} expert=${EXPERT:-64}
levels columns --ffn-removed "0 $columns"
levels experts --ffn-removed "0 $expert"
levels both --ffn-removed "0 $columns $expert"

table() {
  local way strategy seed results
  echo '| half of the experts'"'"' parameters | KL | perplexity |'
  echo '|---|---|---|'
  row 'columns of all experts alike' uniform
  row 'experts of each layer by REAP' by-reap
  row 'experts of each layer by the loss of their removal' by-loss
  for way in columns columns-equal experts both; do row "by end losses, ${way/-/, }" "by-end-loss-$way"; done
  for strategy in ${STRATEGIES:-evolution}; do
    for way in columns columns-equal experts both; do
      results=()
      for ((seed = 1; seed <= seeds; ++seed)); do results+=("$strategy-$way-$seed"); done
      row "$strategy, ${way/-/, }" "${results[@]}"
    done
  done
}

for database in columns experts both; do assign "by-end-loss-$database" "$database"; done
assign by-end-loss-columns-equal columns --experts equal
for score in reap loss; do assign "by-$score" experts --by "$score"; done
for strategy in ${STRATEGIES:-evolution}; do
  options=()
  [[ $strategy == evolution ]] && options=(--survivors "4 2 1" --tokens "${TOKENS:-1024 2048 4096}")
  for ((seed = 1; seed <= seeds; ++seed)); do
    for way in columns columns-equal experts both; do
      name=$strategy-$way-$seed database=${way%-equal} tie=free
      [[ $way == *-equal ]] && tie=equal
      step "$name" search "${text[@]}" --database "$folder/$database.h5" --output "$folder/$name" --strategy "$strategy" \
        "${half[@]}" --experts "$tie" --seed "$seed" --generations "${GENERATIONS:-20}" --offspring 16 "${options[@]}" \
        --fitness kl
      evaluate "$name" "$database" "$folder/$name/best.txt"
    done
  done
done
# What the search calls uniform.
read -r first _ <<<"${STRATEGIES:-evolution}"
evaluate uniform columns "$folder/$first-columns-1/uniform.txt"
table | tee "$folder/table.md"
