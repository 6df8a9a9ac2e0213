#!/usr/bin/env python3
"""Writes a Llama model as one of another family, to have a small trained model of each:

    python tools/checks/make_family.py tests/data/models/tiny FAMILY OUTPUT     FAMILY: llama, mistral, qwen2, qwen3,
                                                                                        mixtral or qwen3_moe

Weights stay; biases of qwen2, head norms of qwen3 and the routers of mixtures, whose experts each have half of the feed-forward
columns, are random, so their text is worse. Of mistral the head is stored, not tied. Three layers come in that hardly do anything, the first, the middle and the last one (IDLE), so that a model can lose all
of a layer's attention or feed-forward part and still write text. Needs torch and safetensors.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

# Where a layer comes in, in front of which old one, and the factors of what its attention and feed-forward part add.
IDLE = ((0, 0.0, 0.01), (4, 0.0, 0.0), (8, 0.02, 0.0))
CHANGES = {
    "llama": {},
    "mistral": {"sliding_window": None, "tie_word_embeddings": False},
    "qwen2": {"use_sliding_window": False},
    "qwen3": {"use_sliding_window": False, "sliding_window": None},
    "mixtral": {"sliding_window": None, "num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 176},
    "qwen3_moe": {"use_sliding_window": False, "sliding_window": None, "num_experts": 6, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 176, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
}
CLASSES = {"qwen3_moe": "Qwen3Moe"}
EXPERTS = 6
# What mixtures call their parts: the whole, an expert's gate, up and down.
MIXTURES = {"mixtral": ("block_sparse_moe", "w1", "w3", "w2"), "qwen3_moe": ("mlp", "gate_proj", "up_proj", "down_proj")}


def add_idle_layers(tensors, layers):
    """The tensors with the layers of IDLE, each a copy of the one before it but for its size."""
    result = {name: tensor for name, tensor in tensors.items() if not name.startswith("model.layers.")}
    order = []  # old layer, factors
    for i in range(layers + 1):
        order += [(max(i - 1, 0), attention, ffn) for at, attention, ffn in IDLE if at == i]
        order += [(i, 1.0, 1.0)] if i < layers else []
    for new, (old, attention, ffn) in enumerate(order):
        prefix = f"model.layers.{old}."
        for name in [name for name in tensors if name.startswith(prefix)]:
            part = name[len(prefix):]
            factor = {"self_attn.o_proj.weight": attention, "mlp.down_proj.weight": ffn}.get(part, 1.0)
            result[f"model.layers.{new}.{part}"] = tensors[name] * factor
    return result, len(order)


def make_experts(tensors, layer, names, generator):
    """The layer's feed-forward part as a mixture, any two of whose experts are about as good as the whole."""
    at = f"model.layers.{layer}."
    gate, up, down = (tensors.pop(f"{at}mlp.{name}_proj.weight") for name in ("gate", "up", "down"))
    whole, *parts = names
    router = torch.randn((EXPERTS, gate.shape[1]), generator=generator) * 0.3
    tensors[f"{at}{whole}.gate.weight"] = router.to(gate.dtype)
    for expert in range(EXPERTS):
        columns = torch.randperm(gate.shape[0], generator=generator)[:gate.shape[0] // 2].sort().values
        for name, weight in zip(parts, (gate[columns], up[columns], 2 * down[:, columns])):
            tensors[f"{at}{whole}.experts.{expert}.{name}.weight"] = weight.contiguous()


def main():
    if len(sys.argv) != 4 or sys.argv[2] not in CHANGES:
        sys.exit(__doc__)
    model, family, output = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    config = json.loads((model / "config.json").read_text())
    if config["model_type"] != "llama":
        sys.exit(f"{model}: model_type {config['model_type']}, not llama")
    tensors, layers = add_idle_layers(load_file(model / "model.safetensors"), config["num_hidden_layers"])
    generator = torch.Generator().manual_seed(1)

    def random(like, size, middle, deviation):
        return (middle + deviation * torch.randn(size, generator=generator)).to(like.dtype)

    for i in range(layers):
        at = f"model.layers.{i}.self_attn."
        for name in "qkv":
            weight = tensors[f"{at}{name}_proj.weight"]
            if family == "qwen2":
                tensors[f"{at}{name}_proj.bias"] = random(weight, weight.shape[0], 0.0, 0.1)
            if family.startswith("qwen3") and name != "v":
                tensors[f"{at}{name}_norm.weight"] = random(weight, config["head_dim"], 2.0, 0.3)
        if family in MIXTURES:
            make_experts(tensors, i, MIXTURES[family], generator)
    name = CLASSES.get(family, family.capitalize())
    config.update(model_type=family, num_hidden_layers=layers, architectures=[f"{name}ForCausalLM"], **CHANGES[family])
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    output.mkdir(parents=True)
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for file in model.glob("tokenizer*"):
        shutil.copy(file, output)


if __name__ == "__main__":
    main()
