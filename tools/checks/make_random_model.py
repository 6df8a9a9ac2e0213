#!/usr/bin/env python3
"""Writes a Hugging Face model of any size with random weights, for timings, as fast as the disk takes it: needs NumPy.

python3 tools/checks/make_random_model.py CONFIG TOKENIZER OUTPUT [--half]

CONFIG: a config.json of llama, qwen2 or qwen3; TOKENIZER: a folder whose tokenizer files are copied; OUTPUT: a new
folder. --half: as pruned, of KV groups and columns a quarter, a half and three quarters in the layers in turn, the first
layer without attention and the last without feed-forward part, in the form that galapagos reads. Matrices are bf16: some millions of normal values of standard deviation `initializer_range` over and over, from
another place in each row and matrix; norms are ones and biases zeros.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy

MOST_BYTES = 4 << 30  # of a file
DIFFERENT = 4_000_037  # values; a prime, so that no rows are alike


def head_of(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def halve(config):
    """Makes it the config of a pruned model of half of the layers' weights."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    columns = config["intermediate_size"]
    kept = [[groups * (1 + i % 3) // 4, columns * (1 + i % 3) // 4] for i in range(config["num_hidden_layers"])]
    kept[0][0] = kept[-1][1] = 0
    config["pruned_layers"] = [
        {"kv_of_head": [i * groups // heads for i in range(kv_heads * heads // groups)], "num_key_value_heads": kv_heads,
         "intermediate_size": width} for kv_heads, width in kept]
    config.update(base_model_type=config["model_type"], model_type="galapagos", head_dim=head_of(config),
                  architectures=["GalapagosForCausalLM"])


def layers_of(config):
    """Query heads, KV heads and columns of each layer."""
    if "pruned_layers" in config:
        return [(len(layer["kv_of_head"]), layer["num_key_value_heads"], layer["intermediate_size"])
                for layer in config["pruned_layers"]]
    whole = config["num_attention_heads"], config["num_key_value_heads"], config["intermediate_size"]
    return [whole] * config["num_hidden_layers"]


def shapes(config):
    """Name and shape of every tensor."""
    hidden, vocabulary, head = config["hidden_size"], config["vocab_size"], head_of(config)
    family = config.get("base_model_type", config["model_type"])
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer, (heads, kv_heads, columns) in enumerate(layers_of(config)):
        at, q, kv = f"model.layers.{layer}.", heads * head, kv_heads * head
        if heads > 0:
            yield at + "input_layernorm.weight", (hidden,)
            for name, rows in (("q", q), ("k", kv), ("v", kv)):
                yield f"{at}self_attn.{name}_proj.weight", (rows, hidden)
                if family == "qwen2":
                    yield f"{at}self_attn.{name}_proj.bias", (rows,)
            if family == "qwen3":
                yield at + "self_attn.q_norm.weight", (head,)
                yield at + "self_attn.k_norm.weight", (head,)
            yield at + "self_attn.o_proj.weight", (hidden, q)
        if columns > 0:
            yield at + "post_attention_layernorm.weight", (hidden,)
            yield at + "mlp.gate_proj.weight", (columns, hidden)
            yield at + "mlp.up_proj.weight", (columns, hidden)
            yield at + "mlp.down_proj.weight", (hidden, columns)
    yield "model.norm.weight", (hidden,)
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", (vocabulary, hidden)


def bf16(values):
    """fp32 values as the words of bf16, rounded to the nearest."""
    bits = values.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


class Words:
    """The words of one tensor after the other."""

    def __init__(self, scale):
        self.drawn = bf16(numpy.random.default_rng(1).standard_normal(DIFFERENT) * scale)
        self.at = 0

    def of(self, name, shape):
        if len(shape) == 1:
            return numpy.full(shape, bf16(numpy.array([0.0 if name.endswith("bias") else 1.0]))[0])
        count = shape[0] * shape[1]
        words = numpy.resize(numpy.roll(self.drawn, -self.at), count)
        self.at = (self.at + count) % DIFFERENT
        return words


def write_file(path, tensors):
    """safetensors: the length of the header, the header, the values."""
    header, at = {}, 0
    for name, (shape, words) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + words.nbytes]}
        at += words.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, words in tensors.values():
            words.tofile(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("config", "tokenizer", "output"):
        parser.add_argument(name, type=Path, metavar=name.upper())
    parser.add_argument("--half", action="store_true")
    arguments = parser.parse_args()
    config_file, tokenizer, output = arguments.config, arguments.tokenizer, arguments.output
    config = json.loads(config_file.read_text())
    if config.get("model_type") not in ("llama", "qwen2", "qwen3"):
        sys.exit(f"{config_file}: model_type {config.get('model_type')}; give a config of llama, qwen2 or qwen3")
    if arguments.half:
        halve(config)
    output.mkdir(parents=True)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, output)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    words = Words(config.get("initializer_range", 0.02))
    part, size, weight_map, files = {}, 0, {}, 0
    for name, shape in [*shapes(config), (None, None)]:
        tensor = None if name is None else words.of(name, shape)
        if part and (tensor is None or size + tensor.nbytes > MOST_BYTES):
            files += 1
            file = f"model-{files:05d}.safetensors"
            write_file(output / file, part)
            weight_map.update(dict.fromkeys(part, file))
            part, size = {}, 0
        if tensor is not None:
            part[name] = (shape, tensor)
            size += tensor.nbytes
    (output / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))


if __name__ == "__main__":
    main()
