#!/usr/bin/env python3
"""Makes qwen3_moe_pruned and mixtral_pruned of tests/data/models, and what the exported Python code computes with them.

    .venv/bin/python tools/goldens/pruned_mixtures.py --output tests/data

They are the models qwen3_moe_tiny and mixtral_tiny of tools/goldens/forward.py, which says how to install what this
needs, without what LAYERS does not keep. tests/data/forward/<name>.safetensors has `tokens` I32 and the `logits` F32 of
all positions. Compared are the logits with those of the stock class, in which the columns are zero and the router never
chooses what is gone, and those that tools/checks/check_hf_export.py compares (torch 2.15, transformers 5.24.0).
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import forward
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
# Mixtral's names in checkpoints, and those of exports.
NAMES = {"block_sparse_moe": "mlp", "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


class Kept(NamedTuple):
    heads: tuple
    columns: object  # of a dense layer how many, of a mixture how many by expert; 0: no feed-forward part


# Layers without attention, or feed-forward part, uneven heads, experts of one column, and fewer experts than a token gets.
LAYERS = {
    "qwen3_moe_pruned": (Kept((), 20), Kept((0, 1, 2, 5), {0: 24, 2: 7, 3: 1, 5: 12}), Kept((6, 7), {4: 9}),
                         Kept((0, 1, 3, 5), 0)),
    "mixtral_pruned": (Kept((0, 2, 3), {0: 40, 1: 7, 4: 1}), Kept((1, 2), 0), Kept((), {3: 11})),
}
SOURCES = {"qwen3_moe_pruned": "qwen3_moe_tiny", "mixtral_pruned": "mixtral_tiny"}
LENGTHS = {"qwen3_moe_pruned": 8, "mixtral_pruned": 16}  # of two sequences


def renamed(name):
    return ".".join(NAMES.get(part, part) for part in name.split("."))


def cut(tensors, prefix, kept, rng):
    """Keeps so many columns of what is below the prefix, and returns which."""
    width = tensors[prefix + "up_proj.weight"].shape[0]
    columns = sorted(rng.sample(range(width), kept))
    for name in ("gate_proj", "up_proj"):
        tensors[f"{prefix}{name}.weight"] = tensors[f"{prefix}{name}.weight"][columns]
    tensors[prefix + "down_proj.weight"] = tensors[prefix + "down_proj.weight"][:, columns]
    return columns


def drop(tensors, prefix):
    for name in [name for name in tensors if name.startswith(prefix)]:
        del tensors[name]


def prune_attention(tensors, prefix, heads, config):
    """Returns the layer's entries about attention."""
    size = config["head_dim"] or config["hidden_size"] // config["num_attention_heads"]
    group = config["num_attention_heads"] // config["num_key_value_heads"]
    kv_heads = sorted({head // group for head in heads})
    if not heads:
        drop(tensors, prefix + "self_attn.")
        drop(tensors, prefix + "input_layernorm.")
    else:
        for name, kept in (("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)):
            rows = [head * size + i for head in kept for i in range(size)]
            tensors[f"{prefix}self_attn.{name}.weight"] = tensors[f"{prefix}self_attn.{name}.weight"][rows]
        columns = [head * size + i for head in heads for i in range(size)]
        tensors[prefix + "self_attn.o_proj.weight"] = tensors[prefix + "self_attn.o_proj.weight"][:, columns]
    return {"kv_of_head": [kv_heads.index(head // group) for head in heads], "num_key_value_heads": len(kv_heads)}


def prune_mlp(tensors, prefix, columns, rng):
    """Returns the layer's entries about its feed-forward part, and the columns kept by expert (of a dense one: None)."""
    if not columns:
        drop(tensors, prefix + "mlp.")
        drop(tensors, prefix + "post_attention_layernorm.")
        return {"intermediate_size": 0}, {}
    if not isinstance(columns, dict):
        return {"intermediate_size": columns}, {None: cut(tensors, prefix + "mlp.", columns, rng)}
    whole = {name: tensors[name] for name in tensors if name.startswith(prefix + "mlp.")}
    drop(tensors, prefix + "mlp.")
    kept = {}
    for new, (old, count) in enumerate(columns.items()):
        one, other = f"{prefix}mlp.experts.{old}.", f"{prefix}mlp.experts.{new}."
        kept[old] = cut(whole, one, count, rng)
        tensors |= {other + name[len(one):]: value for name, value in whole.items() if name.startswith(one)}
    tensors[prefix + "mlp.gate.weight"] = whole[prefix + "mlp.gate.weight"][list(columns)]
    return {"intermediate_size": sum(columns.values()), "experts": list(columns.values())}, kept


def prune(name, source, folder):
    """Writes the pruned model and returns which columns it keeps, by layer and expert."""
    config = json.loads((source / "config.json").read_text())
    tensors = {renamed(key): value for key, value in load_file(source / "model.safetensors").items()}
    rng, layers, kept = random.Random(1), [], []
    for i, layer in enumerate(LAYERS[name]):
        prefix = f"model.layers.{i}."
        attention = prune_attention(tensors, prefix, layer.heads, config)
        mlp, columns = prune_mlp(tensors, prefix, layer.columns, rng)
        layers.append(attention | mlp)
        kept.append(columns)
    config.update(
        base_model_type=config["model_type"], model_type="galapagos", architectures=["GalapagosForCausalLM"],
        auto_map={"AutoConfig": "configuration_galapagos.GalapagosConfig",
                  "AutoModel": "modeling_galapagos.GalapagosModel",
                  "AutoModelForCausalLM": "modeling_galapagos.GalapagosForCausalLM"}, pruned_layers=layers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    return kept


class Router(nn.Module):
    """A stock router that never chooses some experts: what they would get, if too few are left, is nothing."""

    def __init__(self, stock, kept, sums_to_one):
        super().__init__()
        self.stock, self.kept, self.sums_to_one = stock, kept, sums_to_one

    def forward(self, hidden_states):
        logits = hidden_states.reshape(-1, hidden_states.shape[-1]) @ self.stock.weight.T
        gone = [expert not in self.kept for expert in range(logits.shape[1])]
        shares, experts = logits.masked_fill(torch.tensor(gone), -torch.inf).softmax(-1).topk(self.stock.top_k)
        if self.sums_to_one:
            shares = shares / shares.sum(-1, keepdim=True)
        return logits, shares, experts


def dense_twin(name, source, kept):
    """The stock class with zeros in place of what is gone."""
    model = AutoModelForCausalLM.from_pretrained(source, torch_dtype=torch.float32, attn_implementation="eager").eval()
    model.set_experts_implementation("eager")
    with torch.no_grad():
        for layer, keep, columns in zip(model.model.layers, LAYERS[name], kept):
            size = layer.self_attn.head_dim
            mask = torch.tensor([head in keep.heads for head in range(model.config.num_attention_heads)])
            layer.self_attn.o_proj.weight *= mask.repeat_interleave(size)
            if None in columns or not hasattr(layer.mlp, "experts"):
                weight = layer.mlp.down_proj.weight
                weight *= torch.tensor([column in columns.get(None, ()) for column in range(weight.shape[1])])
                continue
            for expert, weight in enumerate(layer.mlp.experts.down_proj):
                weight *= torch.tensor([column in columns.get(expert, ()) for column in range(weight.shape[1])])
            if columns:
                layer.mlp.gate = Router(layer.mlp.gate, columns, getattr(model.config, "norm_topk_prob", True))
    return model


def make(name, output, folder):
    source, goldens = output / "models" / SOURCES[name], output / "forward" / f"{name}.safetensors"
    kept = prune(name, source, folder)
    for file in (ROOT / "src/export/python").glob("*_galapagos.py"):
        shutil.copy(file, folder)
    subprocess.run([sys.executable, "-P", ROOT / "tools/checks/check_hf_export.py", folder, "--attention", "eager",
                    "--length", str(LENGTHS[name]), "--golden", goldens], check=True)
    expected = load_file(goldens)
    tokens = expected["tokens"].long()
    with torch.no_grad():
        error = (dense_twin(name, source, kept)(tokens).logits - expected["logits"]).abs().max().item()
    assert error < 2e-5, error
    print(f"{name}: within {error:.1e} of the stock class with zeros; logits deviate by {expected['logits'].std():.2f}")
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, torch_dtype=torch.float32).eval()
    forward.print_routing(model, tokens)
    target = output / "models" / name
    target.mkdir(exist_ok=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(folder / file, target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder that has models/ and forward/")
    parser.add_argument("--only", choices=LAYERS, help="this model alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    for name in LAYERS:
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                make(name, arguments.output, Path(folder) / name)


if __name__ == "__main__":
    main()
