#!/usr/bin/env python3
"""Prunes a small model at random and writes it in both forms: OUTPUT/hf (shrunk, as the hf export writes it) and
OUTPUT/dense (the same model with zeros in place of what is gone), to try check_hf_export.py on.

    python tools/checks/make_pruned_example.py tests/data/models/llama3_tiny OUTPUT [--heads free] [--seed 1]

Layers have, in turn: no attention; both, pruned; neither; no feed-forward. --heads says which query heads may go.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

PYTHON = Path(__file__).resolve().parents[2] / "src/export/python"


def choose_heads(rng, mode, heads, kv_heads):
    group = heads // kv_heads
    if mode == "none":
        return []
    if mode == "all":
        return list(range(heads))
    if mode == "group":
        kept = sorted(rng.sample(range(kv_heads), max(1, kv_heads // 2)))
        return [k * group + i for k in kept for i in range(group)]
    if mode == "per-group":
        each = max(1, group // 2)
        return [k * group + i for k in range(kv_heads) for i in sorted(rng.sample(range(group), each))]
    return sorted(rng.sample(range(heads), rng.randint(1, heads - 1)))


def runs(indices, size):
    return [i * size + j for i in indices for j in range(size)]


def layers_attention(config):
    """What exports write where the attention of layers differs: of each layer its window, and how it turns its heads."""
    types, layers = config.get("layer_types"), config["num_hidden_layers"]
    window = config.get("sliding_window") or 0
    sliding = [window > 0] * layers if config["model_type"] in ("mistral", "ministral3", "phi3") and not types else [
        kind == "sliding_attention" for kind in types or ["full_attention"] * layers]
    ropes = ["usual"] * layers
    if config["model_type"] == "gemma3_text":
        ropes = ["local" if slides else "usual" for slides in sliding]
    elif "no_rope_layers" in config:
        ropes = ["usual" if turns else "none" for turns in config["no_rope_layers"][:layers]]
    if not any(sliding) and ropes == ["usual"] * layers:
        return {}
    return {"layer_windows": [window if slides else 0 for slides in sliding], "layer_ropes": ropes}


def prune_layer(dense, shrunk, i, heads, columns, group, head_dim):
    """Zeroes in `dense` and cuts from `shrunk` what layer i loses; returns its entry of pruned_layers."""
    prefix = f"model.layers.{i}."
    kv_kept = sorted({head // group for head in heads})
    rows = {"q_proj": runs(heads, head_dim), "k_proj": runs(kv_kept, head_dim), "v_proj": runs(kv_kept, head_dim),
            "gate_proj": columns, "up_proj": columns}
    of_mlp = ["mlp", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
    if prefix + "pre_feedforward_layernorm.weight" not in dense:
        of_mlp.append("post_attention_layernorm")
    for name in [name for name in shrunk if name.startswith(prefix)]:
        module = name[len(prefix):].split(".")
        kept = columns if module[0] in of_mlp else heads
        if not kept:
            del shrunk[name]
        elif module[1] in rows:
            shrunk[name] = shrunk[name][rows[module[1]]]
    for name, kept in (("self_attn.o_proj", rows["q_proj"]), ("mlp.down_proj", columns)):
        weight = dense[f"{prefix}{name}.weight"]
        if kept:
            shrunk[f"{prefix}{name}.weight"] = weight[:, kept].contiguous()
        weight[:, sorted(set(range(weight.shape[1])) - set(kept))] = 0
    return {"kv_of_head": [kv_kept.index(head // group) for head in heads], "num_key_value_heads": len(kv_kept),
            "intermediate_size": len(columns)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--heads", choices=["free", "group", "per-group", "all", "none"], default="free")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)

    config = json.loads((arguments.model / "config.json").read_text())
    dense = {}
    for file in sorted(arguments.model.glob("*.safetensors")):
        dense.update(load_file(file))
    shrunk = dict(dense)
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    layers = []
    for i in range(config["num_hidden_layers"]):
        no_attention, no_ffn = [(True, False), (False, False), (True, True), (False, True)][i % 4]
        kept_heads = choose_heads(rng, "none" if no_attention else arguments.heads, heads, kv_heads)
        width = config["intermediate_size"]
        columns = [] if no_ffn else sorted(rng.sample(range(width), rng.randint(1, width)))
        layers.append(prune_layer(dense, shrunk, i, kept_heads, columns, heads // kv_heads, head_dim))

    for form, tensors in (("dense", dense), ("hf", shrunk)):
        folder = arguments.output / form
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        if form == "hf":
            config.update(
                base_model_type=config["model_type"], model_type="galapagos", head_dim=head_dim,
                architectures=["GalapagosForCausalLM"], pruned_layers=layers, **layers_attention(config),
                auto_map={"AutoConfig": "configuration_galapagos.GalapagosConfig",
                          "AutoModel": "modeling_galapagos.GalapagosModel",
                          "AutoModelForCausalLM": "modeling_galapagos.GalapagosForCausalLM"})
            for file in PYTHON.glob("*.py"):
                shutil.copy(file, folder)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for i, layer in enumerate(layers):
        print(f"layer {i}: kv_of_head {layer['kv_of_head']}, {layer['intermediate_size']} columns")


if __name__ == "__main__":
    main()
