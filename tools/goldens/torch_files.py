#!/usr/bin/env python3
"""Writes the files of torch.save in tests/data/torch, and what is in them as expected.safetensors.

    python3 -m venv venv && venv/bin/pip install torch safetensors
    venv/bin/python tools/goldens/torch_files.py

Made with torch 2.15.0.
"""

import collections
import pathlib
import pickle
import shutil

import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "torch"
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64, "i64": torch.int64,
         "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool}

shutil.rmtree(ROOT, ignore_errors=True)
ROOT.mkdir(parents=True)
torch.manual_seed(1)
expected = {}


def save(name, value, expect=None, **settings):
    torch.save(value, ROOT / f"{name}.pth", **settings)
    if expect is not None:
        expected.update({key: tensor.clone().contiguous() for key, tensor in expect.items()})


for name, dtype in TYPES.items():
    tensor = (torch.randn(3, 5) * 50).abs().to(dtype)
    save(name, tensor, {name: tensor})
whole = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
for name, view in {"transposed": whole[0].t(), "permuted": whole.permute(2, 0, 1), "sliced": whole[1:, 1:3, ::2],
                   "column": whole[:, 2, 3], "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 7),
                   "one_row": whole[0].t()[1:2]}.items():
    save(name, view, {name: view})
save("shared", {"all": whole, "part": whole[2, 1:], "last": whole.flatten()[-1]},
     {"shared.all": whole, "shared.part": whole[2, 1:], "shared.last": whole.flatten()[-1]})
save("metadata", {"cols_removed_attn": [0, 512, 70000, 4096], "cols_removed_mlp": [0, 1088]})
save("plain", {"none": None, "yes": True, "no": False, "big": 2**40, "minus": -3, "least": -(2**63), "half": 0.5, "text": "\u00fc",
               "pair": (1, [2.0, "x"]), "ordered": collections.OrderedDict(a=1)})

# What is to be refused.
save("legacy", torch.ones(2), _use_new_zipfile_serialization=False)
save("parameter", torch.nn.Parameter(torch.ones(2)))
save("expanded", torch.ones(1).expand(1000))
save("protocol4", torch.ones(2), pickle_protocol=4)
save("function", {"f": pickle.loads})
save("keys", {1: torch.ones(2)})
save("unsigned", torch.ones(2, dtype=torch.uint16))
save("sparse", torch.eye(2).to_sparse())
save_file(expected, ROOT / "expected.safetensors")
