#!/usr/bin/env python3
"""Writes the folders of MDS shards in tests/data/mds by MosaicML's own writer.

    python3 -m venv venv && venv/bin/pip install mosaicml-streaming numpy
    venv/bin/python tools/goldens/mds_shards.py

Made with mosaicml-streaming 0.13.0.
"""

import pathlib
import shutil

import numpy as np
from streaming import MDSWriter

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "mds"


def write(name, columns, samples, **settings):
    shutil.rmtree(ROOT / name, ignore_errors=True)
    with MDSWriter(out=str(ROOT / name), columns=columns, hashes=[], **settings) as writer:
        for sample in samples:
            writer.write(sample)


random = np.random.default_rng(1)
ids = [random.integers(0, 768, size=count).astype(np.int32) for count in (3, 300, 7, 1, 40, 9)]
write("tokens", {"tokens": "ndarray:int32", "id": "int"}, [{"tokens": each, "id": i} for i, each in enumerate(ids)], size_limit=1600)
types = [np.int64, np.uint16, np.int32, None, np.uint32, np.int16]
write("dynamic", {"input_ids": "ndarray", "zz": "str"},
      [{"input_ids": each.astype(kind), "zz": "\u00e9" * i} for i, (each, kind) in enumerate(zip(ids, types)) if kind], compression="zstd:3")
write("fixed", {"tokens": "ndarray:uint16:4"}, [{"tokens": each[:4].astype(np.uint16)} for each in ids if len(each) >= 4], compression="gz")
write("bytes", {"tokens": "bytes"}, [{"tokens": each.astype(np.int64).tobytes()} for each in ids], size_limit=2000)
write("text", {"text": "str", "n": "int"}, [{"text": each, "n": 1} for each in ("Hello", "", "Zwei\n\u00fc \u4f60\u597d", "end")], size_limit=120,
      compression="zstd:3")
write("chat", {"messages": "json"}, [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}])
