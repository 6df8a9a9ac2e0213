#!/usr/bin/env python3
"""Writes a Hugging Face model of any size with random weights, for timings, as fast as the disk takes it: needs NumPy.

python3 tools/checks/make_random_model.py CONFIG TOKENIZER OUTPUT

CONFIG: a config.json of llama, qwen2 or qwen3; TOKENIZER: a folder whose tokenizer files are copied; OUTPUT: a new
folder. Matrices are bf16: some millions of normal values of standard deviation `initializer_range` over and over, from
another place in each row and matrix; norms are ones and biases zeros.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy

MOST_BYTES = 4 << 30  # of a file
DIFFERENT = 4_000_037  # values; a prime, so that no rows are alike


def shapes(config):
    """Name and shape of every tensor."""
    hidden, columns, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (hidden,)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{at}self_attn.{name}_proj.weight", (rows, hidden)
            if config["model_type"] == "qwen2":
                yield f"{at}self_attn.{name}_proj.bias", (rows,)
        if config["model_type"] == "qwen3":
            yield at + "self_attn.q_norm.weight", (head,)
            yield at + "self_attn.k_norm.weight", (head,)
        yield at + "self_attn.o_proj.weight", (hidden, q)
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
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    config_file, tokenizer, output = map(Path, sys.argv[1:])
    config = json.loads(config_file.read_text())
    if config.get("model_type") not in ("llama", "qwen2", "qwen3"):
        sys.exit(f"{config_file}: model_type {config.get('model_type')}; give a config of llama, qwen2 or qwen3")
    output.mkdir(parents=True)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, output)
    shutil.copy(config_file, output / "config.json")
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
