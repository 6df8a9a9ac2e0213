#!/usr/bin/env python3
"""Makes what PyTorch computes of the loss that balances experts: tests/data/training/qwen3_moe_tiny_router.safetensors.

    python3 tools/goldens/router_loss.py

Made with torch 2.15 and transformers 5.24.0, whose class of the family and load_balancing_loss_func are run in float64,
from a copy in which they say so; rounded to float32 at the end. All F32 except the tokens:
  tokens                [1, 33] I32, two sequences as tools/goldens/training.py has them, run one by one
  losses                [2] the cross entropy, as there, and the balancing loss as it is, without a factor
  gradient.<parameter>  of cross entropy + 0.1 * balancing loss, by names of checkpoints. To keep the file small those of
                        model.embed_tokens.weight and lm_head.weight are left out; the latter has none of the second loss.

The balancing loss is the number of experts times the sum over them of (choices of the expert / rows) * (mean share of the
expert). Rows are the positions of both sequences (all of them, also the last) in every mixture, taken together; shares
are those of the softmax over all experts; a row has num_experts_per_tok choices. No gradient goes through the choices.

The script fails where gradients and central differences disagree, and where cross entropy or its gradient differs from
that of the exported Python code with nothing pruned.
"""

import importlib
import inspect
import json
import re
import sys
import tempfile
from pathlib import Path

import torch
import training
from safetensors.torch import load_file
from transformers.models.qwen3_moe import modeling_qwen3_moe

NAME, SEED, FACTOR = "qwen3_moe_tiny", 41, 0.1
LEFT_OUT = ("model.embed_tokens.weight", "lm_head.weight")


def import_stock_code(folder):
    """The stock class's module with float64 in place of every float32."""
    text = inspect.getsource(modeling_qwen3_moe)
    text = re.sub(r"^from \.\.\.(?=\w| )", "from transformers.", text, flags=re.MULTILINE)
    text = text.replace("from transformers. import", "from transformers import")
    text = text.replace("from .configuration", "from transformers.models.qwen3_moe.configuration")
    text = re.sub(r"torch\.float(32)?\b", "torch.float64", text).replace(".float()", ".double()")
    (folder / "exact_qwen3_moe.py").write_text(text)
    return importlib.import_module("exact_qwen3_moe")


def load_stock(code):
    stock = modeling_qwen3_moe.Qwen3MoeForCausalLM.from_pretrained(
        training.MODELS / NAME, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager")
    model = code.Qwen3MoeForCausalLM(stock.config).double().eval()
    model.load_state_dict(stock.state_dict())
    return model


def load_exported(code):
    """The same in the exported code, with nothing pruned."""
    values = json.loads((training.MODELS / NAME / "config.json").read_text())
    stored = load_file(training.MODELS / NAME / "model.safetensors")
    heads, kv_heads = values["num_attention_heads"], values["num_key_value_heads"]
    layers = []
    for i in range(values["num_hidden_layers"]):
        layer = {"kv_of_head": [head // (heads // kv_heads) for head in range(heads)], "num_key_value_heads": kv_heads,
                 "intermediate_size": values["intermediate_size"]}
        if f"model.layers.{i}.mlp.gate.weight" in stored:
            layer["experts"] = [values["moe_intermediate_size"]] * values["num_experts"]
            layer["intermediate_size"] = sum(layer["experts"])
        layers.append(layer)
    config = code.GalapagosConfig(**values | {"model_type": "galapagos", "base_model_type": values["model_type"],
                                              "pruned_layers": layers})
    config._attn_implementation = "eager"
    model = code.GalapagosForCausalLM(config).double().eval()
    model.load_state_dict(stored)
    return model


def balancing_loss(code, model, tokens):
    """Of the rows of both sequences together."""
    parts = [model(part, use_cache=False, output_router_logits=True).router_logits for part in training.split(tokens)]
    logits = tuple(torch.cat(layer) for layer in zip(*parts))
    return code.load_balancing_loss_func(logits, model.config.num_experts, model.config.num_experts_per_tok)


def by_checkpoint_names(gradients):
    """With the experts one by one, as checkpoints have them."""
    result = {}
    for name, gradient in gradients.items():
        if ".experts." not in name:
            result[name] = gradient
            continue
        prefix, kind = name.rsplit(".", 1)
        for expert, own in enumerate(gradient):
            parts = zip(("gate_proj", "up_proj"), own.chunk(2)) if kind == "gate_up_proj" else [(kind, own)]
            result |= {f"{prefix}.{expert}.{part}.weight": value for part, value in parts}
    return result


def check_against_exported(exported, tokens, value, gradients):
    other = training.cross_entropy(exported, tokens)
    assert abs(other.item() - value.item()) < 1e-12, (other, value)
    expected = training.gradients_of(exported, other)
    assert expected.keys() == gradients.keys()
    error = max((gradients[name] - expected[name]).abs().max().item() for name in expected)
    assert error < 1e-10, error
    print(f"{NAME}: gradient of the cross entropy within {error:.1e} of the exported code")


def main():
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        stock_code = import_stock_code(Path(folder))
        exported_code = training.import_model_code(Path(folder), "galapagos_exact", exact=True)
    model = load_stock(stock_code)
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(model.config.vocab_size, (1, sum(training.LENGTHS)), generator=generator, dtype=torch.int32)

    cross_entropy = training.cross_entropy(model, tokens[0])
    check_against_exported(load_exported(exported_code), tokens[0], cross_entropy,
                           by_checkpoint_names(training.gradients_of(model, cross_entropy)))
    balance = balancing_loss(stock_code, model, tokens[0])

    def loss(model):
        return (training.cross_entropy(model, tokens[0])
                + FACTOR * balancing_loss(stock_code, model, tokens[0]))

    gradients = training.gradients_of(model, loss(model))
    assert all(value.dtype == torch.float64 for value in (balance, *gradients.values()))
    error = training.check_gradients(model, loss, gradients, generator)
    print(f"{NAME}: gradient within {error:.1e} of central differences; losses {cross_entropy:.6f}, {balance:.6f}")
    kept = {name: value for name, value in by_checkpoint_names(gradients).items() if name not in LEFT_OUT}
    training.save({"tokens": tokens, "losses": torch.stack([cross_entropy, balance]).detach()}
                  | {f"gradient.{name}": value for name, value in kept.items()},
                  training.ROOT / "tests/data/training" / f"{NAME}_router.safetensors")


if __name__ == "__main__":
    main()
