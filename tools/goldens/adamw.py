#!/usr/bin/env python3
"""Makes where torch.optim.AdamW takes the weights of a small model with given gradients: tests/data/training/adamw.safetensors.

    python3 tools/goldens/adamw.py

Installed as tools/goldens/forward.py says; made with torch 1.13. AdamW computes in float64 from the weights as stored;
what is written is rounded to float32. The gradients are those of gradient_of below, which a test can compute too: of many
magnitudes, of both signs and sometimes zero.

  <parameter>   [20, n] the first n <= KEPT values of a parameter of tests/data/models/qwen2_pruned after each step
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
STEPS, KEPT, RATE, WEIGHT_DECAY = 20, 48, 1e-2, 0.1


def gradient_of(parameter: int, step: int, elements: int) -> np.ndarray:
    """Of the parameter of this number in the order of the names; exact in float32."""
    index = np.arange(elements, dtype=np.uint64)
    mixed = index * 2654435761 + parameter * 3266489917 + step * 2246822519
    mixed = (mixed ^ (mixed >> np.uint64(15))) & np.uint64(0xFFFFFFFF)
    mixed = (mixed * 2246822519) & np.uint64(0xFFFFFFFF)
    # 12 bits, from -2048 to 2047, times one of the powers 2^-12 to 2^-27.
    return (((mixed >> np.uint64(20)).astype(np.float64) - 2048)
            * 2.0 ** -(12 + ((mixed >> np.uint64(16)) & np.uint64(15)).astype(np.float64)))


def main() -> None:
    stored = load_file(ROOT / "tests/data/models/qwen2_pruned/model.safetensors")
    names = sorted(stored)
    weights = [torch.nn.Parameter(stored[name].double()) for name in names]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=WEIGHT_DECAY)
    seen = {name: [] for name in names}
    for step in range(STEPS):
        for number, weight in enumerate(weights):
            weight.grad = torch.from_numpy(gradient_of(number, step, weight.numel())).reshape(weight.shape)
        optimizer.step()
        for name, weight in zip(names, weights):
            seen[name].append(weight.detach().reshape(-1)[:KEPT].clone())
    file = ROOT / "tests/data/training/adamw.safetensors"
    save_file({name: torch.stack(values).float() for name, values in seen.items()}, file)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
