#!/usr/bin/env bash
# Makes the small pruned models of tests/data/models and what Hugging Face transformers computes with them: layer 0
# without attention, layer 1 without a feed-forward part, layer 2 with neither, where there are more layers uneven heads.
#   tools/goldens/pruned.sh PYTHON [GALAPAGOS [NAME]]
# NAME: of these alone; gemma3 is pruned at random, by tools/checks/make_pruned_example.py, and needs no GALAPAGOS.
# PYTHON has torch, transformers and safetensors (as tools/goldens/forward.py). The dense export is compared as well.
set -euo pipefail
python=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
galapagos=${2:-build/release/src/app/galapagos}
only=${3:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

prune() { # name, levels of ffn by layer, levels of attention by layer
  [[ "$1" == "${only:-$1}" ]] || return 0
  local name=$1 model=tests/data/models/$1_tiny layer
  "$galapagos" database --model "$model" --calibration tests/data/text/sample.jsonl --calibration-tokens 3000 \
    --sequence-length 128 --levels 4 --output "$folder/$name.h5" --log-level warning
  layer=0
  for level in $2; do echo "model.layers.$((layer++)).mlp.down_proj: $level"; done >"$folder/$name.txt"
  layer=0
  for level in $3; do echo "model.layers.$((layer++)).self_attn.o_proj: $level"; done >>"$folder/$name.txt"
  for format in hf dense; do
    "$galapagos" stitch --model "$model" --database "$folder/$name.h5" --assignment "$folder/$name.txt" \
      --format $format --output "$folder/$name-$format" --log-level warning
  done
  "$python" tools/checks/check_hf_export.py "$folder/$name-hf" --dense "$folder/$name-dense" --length 24 \
    --golden "tests/data/forward/${name}_pruned.safetensors"
  mkdir -p "tests/data/models/${name}_pruned"
  cp "$folder/$name-hf/config.json" "$folder/$name-hf/model.safetensors" "tests/data/models/${name}_pruned/"
}
prune llama3 "1 4 4 2" "4 1 4 3"
prune qwen2 "2 4 1" "4 2 1"
prune qwen3 "2 4 1" "4 2 1"
prune biased "2 4 1" "4 2 1"
prune phi3 "2 4 1" "4 2 1"

# A layer with both parts, each pruned, which norms behind them make telling.
if [[ "${only:-gemma3}" == gemma3 ]]; then
  "$python" tools/checks/make_pruned_example.py tests/data/models/gemma3_tiny "$folder/gemma3"
  "$python" tools/checks/check_hf_export.py "$folder/gemma3/hf" --dense "$folder/gemma3/dense" --length 24 \
    --golden tests/data/forward/gemma3_pruned.safetensors
  mkdir -p tests/data/models/gemma3_pruned
  cp "$folder/gemma3/hf/config.json" "$folder/gemma3/hf/model.safetensors" tests/data/models/gemma3_pruned/
fi
