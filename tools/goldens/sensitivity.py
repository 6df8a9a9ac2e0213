#!/usr/bin/env python3
"""Makes what PyTorch finds for the sensitivities of the small models of tests/data/models: tests/data/sensitivity.

    python3 tools/goldens/sensitivity.py [NAME ...]

Made with Python 3.11, torch 2.15, transformers 5.24.0, numpy 2.4 and safetensors (qwen3 with transformers 4.57.3). It takes some
seconds on one core. NAME: of these alone.

All is computed in float64, in the model code of src/export/python (see tools/goldens/training.py), and only then
rounded to float32. Ids are drawn at every position from the model's own softmax: the first id whose cumulative
probability exceeds a number of Philox4x32-10, of which both are written here once more. The loss is the sum of their
negative log-likelihoods; g, its gradient by the output of o_proj or down_proj of a token; G, the mean of g g^T over
tokens and samples.

<name>.safetensors:
  tokens                       [33] I32: two sequences of LENGTHS random tokens
  drawn                        [SAMPLES, 33] I32
  <layer>.attn, <layer>.ffn    G [hidden, hidden] F32, of parts that are there

The script fails where g and central differences of the loss disagree.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from training import LENGTHS, ROOT, import_model_code, load, load_reference, split

OUT = ROOT / "tests/data/sensitivity"
PRUNED = ("llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned")
WHOLE = ("llama3_tiny", "qwen2_tiny", "qwen3_tiny", "gemma3_tiny")
SEED, SAMPLES, KIND = 5, 2, 32


def philox(counter: list[int], key: list[int]) -> list[int]:
    mask = 0xFFFFFFFF
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(second >> 32) ^ counter[1] ^ key[0], second & mask, (first >> 32) ^ counter[3] ^ key[1], first & mask]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return counter


def uniform(token: int, sample: int) -> float:
    words = philox([0, (sample << 8) | KIND, token >> 32, token & 0xFFFFFFFF], [SEED, 0])
    return (((words[0] >> 5) << 26) + (words[1] >> 6)) * 2.0**-53


def outputs_of(model: nn.Module) -> dict[str, nn.Module]:
    """What puts out the result of each part that is there."""
    found = {}
    for index, layer in enumerate(model.model.layers):
        for kind, module in (("attn", getattr(getattr(layer, "self_attn", None), "o_proj", None)),
                             ("ffn", getattr(getattr(layer, "mlp", None), "down_proj", None))):
            if module is not None and module.weight.numel() > 0:
                found[f"{index}.{kind}"] = module
    return found


def loss_of(model: nn.Module, sequence: Tensor, drawn: Tensor) -> Tensor:
    logits = model(sequence).logits[0]
    return -torch.log_softmax(logits, -1).gather(1, drawn[:, None]).sum()


def draw(model: nn.Module, sequence: Tensor, first: int, sample: int) -> Tensor:
    with torch.no_grad():
        cumulative = torch.softmax(model(sequence).logits[0], -1).cumsum(-1)
    shares = torch.tensor([uniform(first + i, sample) for i in range(sequence.shape[1])], dtype=torch.float64)
    return (cumulative <= shares[:, None]).sum(-1).clamp(max=cumulative.shape[1] - 1)


def gradients(model: nn.Module, sequence: Tensor, drawn: Tensor) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}

    def keeper(name):
        def hook(_module, _inputs, output):
            output.retain_grad()
            kept[name] = output

        return hook

    handles = [module.register_forward_hook(keeper(name)) for name, module in outputs_of(model).items()]
    loss_of(model, sequence, drawn).backward()
    for handle in handles:
        handle.remove()
    return {name: output.grad[0] for name, output in kept.items()}


def check_differences(model: nn.Module, sequence: Tensor, drawn: Tensor, found: dict[str, Tensor]) -> float:
    """Of some elements of every module's output, against central differences of the loss."""
    worst, step = 0.0, 1e-5
    generator = np.random.default_rng(3)
    for name, module in outputs_of(model).items():
        token, column = (int(generator.integers(n)) for n in found[name].shape)
        losses = []
        for sign in (1, -1):
            def hook(_module, _inputs, output, change=sign * step):
                output = output.clone()
                output[0, token, column] += change
                return output

            handle = module.register_forward_hook(hook)
            with torch.no_grad():
                losses.append(loss_of(model, sequence, drawn).item())
            handle.remove()
        difference = abs((losses[0] - losses[1]) / (2 * step) - found[name][token, column].item())
        worst = max(worst, difference / found[name].abs().max().item())
    assert worst < 1e-6, worst
    return worst


def make(code, name: str) -> None:
    generator = torch.Generator().manual_seed(7)
    probe = torch.randint(0, 100, (sum(LENGTHS),), generator=generator, dtype=torch.int32)
    model = load(code, name, torch.float64) if name in PRUNED else load_reference(code, name, torch.float64, probe)
    vocabulary = model.config.vocab_size
    tokens = torch.randint(0, vocabulary, (sum(LENGTHS),), generator=generator, dtype=torch.int32)
    tensors, grams, drawn_ids, worst = {"tokens": tokens}, {}, [], 0.0
    for sample in range(SAMPLES):
        first, ids = 0, []
        for sequence in split(tokens):
            drawn = draw(model, sequence, first, sample)
            found = gradients(model, sequence, drawn)
            worst = max(worst, check_differences(model, sequence, drawn, found))
            for key, g in found.items():
                grams[key] = grams.get(key, 0) + g.T @ g
            first += sequence.shape[1]
            ids.append(drawn)
        drawn_ids.append(torch.cat(ids))
    tensors["drawn"] = torch.stack(drawn_ids).int()
    for key, gram in grams.items():
        tensors[key] = (gram / (len(tokens) * SAMPLES)).float().contiguous()
    save_file(tensors, OUT / f"{name}.safetensors")
    print(f"{name}: {len(grams)} modules, gradients within {worst:.1e} of central differences")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        code = import_model_code(Path(folder), "exact", True)
        for name in sys.argv[1:] or WHOLE + PRUNED:
            make(code, name)


if __name__ == "__main__":
    main()
