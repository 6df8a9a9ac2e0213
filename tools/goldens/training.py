#!/usr/bin/env python3
"""Makes what PyTorch computes when it trains the small pruned models of tests/data/models: tests/data/training.

    python3 tools/goldens/training.py [NAME]

Made with Python 3.11, torch 1.13, transformers 4.45.2, numpy 1.24 and safetensors; tools/goldens/forward.py says how
to install them; qwen3_pruned with torch 2.15 and transformers 4.57.3. NAME: of this one alone. It takes some seconds on one core.

All is computed in float64 from the weights as stored and only then rounded to float32. The model code of
src/export/python always normalizes, rotates and takes the softmax in float32, so it is run from a copy in which it
says float64. The reference of the distillation, the unpruned model, runs in the same code as a model with nothing
pruned, after its logits were compared with those of its stock class.

A step's data are two sequences of LENGTHS random tokens, run one by one. A loss is the sum over the predicted
positions of both (all but the last of each) divided by their number.

<name>.safetensors, all F32 except the tokens:
  tokens                    [20, 33] I32, for each step the first sequence, then the second
  gradient.<parameter>      of the cross entropy of step 0 at the initial weights
  distillation.<parameter>  of KL(reference || model) over the full vocabulary, likewise
  distillation_loss         [1]
  losses                    [20] cross entropy before each update: AdamW on every parameter with a constant rate
  schedule.losses           [20] the same again from the initial weights, with gradients clipped and a rate that warms
                            up linearly and falls as a cosine
  schedule.norms            [20] norms of all gradients of a step together, before clipping
<name>_final.safetensors, apart only to keep files small:
  final.<parameter>         after the 20 steps with a constant rate

Of GRADIENTS only tokens [1, 33], gradient.<parameter> and losses [1] are kept, without a reference (torch 2.15,
transformers 5.24.0).

Tied embeddings are one parameter, model.embed_tokens.weight. The script fails where gradients and central differences
disagree, and prints how far the same in float32 is from what it writes.
"""

import importlib
import math
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/data/models"
REFERENCES = {"llama3_pruned": "llama3_tiny", "qwen2_pruned": "qwen2_tiny", "qwen3_pruned": "qwen3_tiny",
              "gemma3_pruned": "gemma3_tiny"}  # of the distillation
# Of the tokens. AdamW's first step is as long for a gradient of 1e-8 as for one of 1, so that with some data rounding
# grows to 1e-2 within the 20 steps. Of the seeds 40 to 59 these are ones where noise of 1e-7 on the initial weights
# changes the float64 results least: losses by 1e-5, final values by 1e-4.
SEEDS = {"llama3_pruned": 41, "qwen2_pruned": 56, "qwen3_pruned": 41, "gemma3_pruned": 41}
GRADIENTS = {"biased_pruned": 41, "phi3_pruned": 41, "qwen3_moe_pruned": 41, "mixtral_pruned": 41}  # and their seeds

STEPS, LENGTHS = 20, (20, 13)
PREDICTED = sum(length - 1 for length in LENGTHS)
RATE, LEAST_RATE, WARM_UP = 1e-2, 1e-3, 5
WEIGHT_DECAY, MAX_NORM = 0.1, 0.5

Tensors = dict[str, Tensor]


class Trajectory(NamedTuple):
    losses: Tensor
    norms: Tensor
    final: Tensors


def import_model_code(folder: Path, package: str, exact: bool) -> ModuleType:
    """The model code in a package of its own below `folder`, with float64 in place of every float32 if `exact`."""
    (folder / package).mkdir()
    for source in (ROOT / "src/export/python").glob("*_galapagos.py"):
        shutil.copy(source, folder / package)
    if exact:
        file = folder / package / "modeling_galapagos.py"
        text = file.read_text()
        # .float() is only in the loss of the model code, which is not used here.
        assert "torch.float32" in text and text.count(".float()") == 1
        file.write_text(text.replace("torch.float32", "torch.float64"))
    return importlib.import_module(f"{package}.modeling_galapagos")


def load(code: ModuleType, name: str, dtype: torch.dtype) -> nn.Module:
    model = code.GalapagosForCausalLM.from_pretrained(MODELS / name, attn_implementation="eager").to(dtype).eval()
    stored = load_file(MODELS / name / "model.safetensors")
    parameters = dict(model.named_parameters())
    assert parameters.keys() == stored.keys()
    assert all(torch.equal(parameters[key], value.to(dtype)) for key, value in stored.items())
    return model


def load_reference(code: ModuleType, name: str, dtype: torch.dtype, tokens: Tensor) -> nn.Module:
    """An unpruned model as one of which nothing is pruned."""
    stock = AutoModelForCausalLM.from_pretrained(MODELS / name, attn_implementation="eager").float().eval()
    values = stock.config.to_dict()
    heads, kv_heads = values["num_attention_heads"], values["num_key_value_heads"]
    layer = {"kv_of_head": [head // (heads // kv_heads) for head in range(heads)],
             "num_key_value_heads": kv_heads, "intermediate_size": values["intermediate_size"]}
    sliding = [kind == "sliding_attention" for kind in values.get("layer_types") or []]
    if any(sliding):
        values["layer_windows"] = [values["sliding_window"] if slides else 0 for slides in sliding]
        if values["model_type"] == "gemma3_text":
            values["layer_ropes"] = ["local" if slides else "usual" for slides in sliding]
    config = code.GalapagosConfig(**values | {
        "model_type": "galapagos", "base_model_type": values["model_type"],
        "pruned_layers": [layer] * values["num_hidden_layers"]})
    config._attn_implementation = "eager"
    model = code.GalapagosForCausalLM(config)
    model.load_state_dict(stock.state_dict())
    model = model.to(dtype).eval()
    with torch.no_grad():
        difference = max((model(part).logits - stock(part).logits).abs().max().item() for part in split(tokens))
    assert difference < 1e-4, difference
    return model


def split(tokens: Tensor) -> list[Tensor]:
    """A step's sequences, each as a batch of one."""
    return [part.long()[None] for part in tokens.split(LENGTHS)]


def predictions(model: nn.Module, sequence: Tensor) -> Tensor:
    """Log probabilities [predicted positions, vocabulary]."""
    return model(sequence, use_cache=False).logits[0, :-1].log_softmax(-1)


def cross_entropy(model: nn.Module, tokens: Tensor) -> Tensor:
    return sum(F.nll_loss(predictions(model, part), part[0, 1:], reduction="sum")
               for part in split(tokens)) / PREDICTED


def divergence(model: nn.Module, reference: nn.Module, tokens: Tensor) -> Tensor:
    """KL(reference || model)"""
    loss = 0.0
    for part in split(tokens):
        with torch.no_grad():
            expected = predictions(reference, part)
        loss = loss + (expected.exp() * (expected - predictions(model, part))).sum()
    return loss / PREDICTED


def gradients_of(model: nn.Module, loss: Tensor) -> Tensors:
    parameters = dict(model.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))


def scheduled_rate(step: int) -> float:
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    return LEAST_RATE + (RATE - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def train(model: nn.Module, tokens: Tensor, scheduled: bool) -> Trajectory:
    """Changes the model. Norms are those before clipping, which only happens where the rate is scheduled."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = scheduled_rate(step) if scheduled else RATE
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(model, tokens[step])
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM if scheduled else math.inf)
        optimizer.step()
        losses.append(loss.detach())
        norms.append(norm)
    final = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return Trajectory(torch.stack(losses), torch.stack(norms), final)


def check_gradients(model: nn.Module, loss: Callable[[nn.Module], Tensor], gradients: Tensors,
                    generator: torch.Generator) -> float:
    """The greatest error, relative to a parameter's greatest gradient, in its greatest and two random entries."""
    step, worst = 1e-5, 0.0
    for name, parameter in model.named_parameters():
        values, gradient = parameter.data.view(-1), gradients[name].reshape(-1)
        entries = torch.randint(values.numel(), (2,), generator=generator).tolist()
        for entry in [int(gradient.abs().argmax()), *entries]:
            before, results = values[entry].item(), []
            for shifted in (before + step, before - step):
                values[entry] = shifted
                with torch.no_grad():
                    results.append(loss(model).item())
            values[entry] = before
            difference = (results[0] - results[1]) / (2 * step)
            # The router of a single expert decides nothing.
            worst = max(worst, abs(difference - gradient[entry].item()) / (gradient.abs().max().item() or 1e-2))
    assert worst < 1e-5, f"gradients differ from central differences by {worst:.1e}"
    return worst


def compute(code: ModuleType, name: str, dtype: torch.dtype, tokens: Tensor, check: bool) -> tuple[Tensors, Tensors]:
    """What goes into the two files, still of type `dtype`."""
    model, reference = load(code, name, dtype), load_reference(code, REFERENCES[name], dtype, tokens[0])
    assert model.config.vocab_size == reference.config.vocab_size
    result = {}
    for kind, loss in (("gradient", lambda model: cross_entropy(model, tokens[0])),
                       ("distillation", lambda model: divergence(model, reference, tokens[0]))):
        value = loss(model)
        gradients = gradients_of(model, value)
        result |= {f"{kind}.{key}": gradient for key, gradient in gradients.items()}
        if kind == "distillation":
            result["distillation_loss"] = value.detach().reshape(1)
        if check:
            error = check_gradients(model, loss, gradients, torch.Generator().manual_seed(SEEDS[name]))
            print(f"{name}: {kind} within {error:.1e} of central differences")
    plain = train(model, tokens, scheduled=False)
    scheduled = train(load(code, name, dtype), tokens, scheduled=True)
    result |= {"losses": plain.losses, "schedule.losses": scheduled.losses, "schedule.norms": scheduled.norms}
    return result, {f"final.{key}": value for key, value in plain.final.items()}


def gradients_alone(code: ModuleType, name: str) -> None:
    generator = torch.Generator().manual_seed(GRADIENTS[name])
    model = load(code, name, torch.float64)
    tokens = torch.randint(model.config.vocab_size, (1, sum(LENGTHS)), generator=generator, dtype=torch.int32)
    value = cross_entropy(model, tokens[0])
    gradients = gradients_of(model, value)
    error = check_gradients(model, lambda model: cross_entropy(model, tokens[0]), gradients, generator)
    print(f"{name}: gradient within {error:.1e} of central differences")
    save({"tokens": tokens, "losses": value.detach().reshape(1)}
         | {f"gradient.{key}": gradient for key, gradient in gradients.items()},
         ROOT / "tests/data/training" / f"{name}.safetensors")


def print_errors(name: str, exact: Tensors, single: Tensors) -> None:
    """Where float32 differs most, by kind of tensor: relative to the greatest value of the tensor, and absolutely."""
    relative, absolute = {}, {}
    for key, expected in exact.items():
        kind = key if key.startswith("schedule") else key.split(".")[0]
        error = (single[key].double() - expected).abs().max().item()
        scaled = error / expected.abs().max().item()
        relative[kind] = max(relative.get(kind, (0.0, "")), (scaled, key))
        absolute[kind] = max(absolute.get(kind, (0.0, "")), (error, key))
    for kind in relative:
        (scaled, one), (error, other) = relative[kind], absolute[kind]
        print(f"{name}: float32 {kind}: relative {scaled:.1e} ({one}), absolute {error:.1e} ({other})")


def save(tensors: Tensors, file: Path) -> None:
    # Clones, since safetensors refuses tensors that share memory.
    kept = {key: value if value.dtype == torch.int32 else value.float() for key, value in tensors.items()}
    assert all(bool(torch.isfinite(value).all()) for value in kept.values())
    save_file({key: value.contiguous().clone() for key, value in kept.items()}, file)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")


def main() -> None:
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    output = ROOT / "tests/data/training"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        exact = import_model_code(Path(folder), "galapagos_exact", exact=True)
        single = import_model_code(Path(folder), "galapagos_single", exact=False)
    for name in sys.argv[1:] or [*REFERENCES, *GRADIENTS]:
        if name in GRADIENTS:
            gradients_alone(exact, name)
            continue
        vocabulary = exact.GalapagosConfig.from_pretrained(MODELS / name).vocab_size
        generator = torch.Generator().manual_seed(SEEDS[name])
        tokens = torch.randint(vocabulary, (STEPS, sum(LENGTHS)), generator=generator, dtype=torch.int32)
        result, final = compute(exact, name, torch.float64, tokens, check=True)
        assert all(value.dtype == torch.float64 for value in (result | final).values())
        narrow, narrow_final = compute(single, name, torch.float32, tokens, check=False)
        print_errors(name, result | final, narrow | narrow_final)
        for key in ("losses", "schedule.losses", "schedule.norms", "distillation_loss"):
            print(f"{name}: {key} {' '.join(f'{value:.4f}' for value in result[key].tolist())}")
        save({"tokens": tokens} | result, output / f"{name}.safetensors")
        save(final, output / f"{name}_final.safetensors")


if __name__ == "__main__":
    main()
