#!/usr/bin/env python3
"""Writes the Parquet and Arrow files in tests/data/tables.

    python3 -m venv venv && venv/bin/pip install pyarrow
    venv/bin/python tools/goldens/tables.py

Made with pyarrow 26.0.1.
"""

import json
import pathlib

import pyarrow
from pyarrow import ipc, parquet

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "tables"
SAVED = ROOT / "saved"
SAVED.mkdir(parents=True, exist_ok=True)

texts = pyarrow.table({"id": list(range(6)), "text": ["Hello", "Zwei\n\"\u00fc\" \\ \u4f60\t\x01", "", None, "five", "six"],
                       "data": [{"body": str(i)} for i in range(6)]})
chats = pyarrow.table({"messages": [[{"role": "user", "content": "Hi", "name": None}, {"role": "assistant", "content": "Yes", "name": "a"}]],
                       "n": [1.5]})
parquet.write_table(texts, ROOT / "text.parquet", row_group_size=2, compression="zstd")
parquet.write_table(texts.set_column(1, "text", texts["text"].dictionary_encode()), ROOT / "coded.parquet", compression="snappy")
parquet.write_table(chats, ROOT / "chat.parquet")
with ipc.new_file(ROOT / "chat.arrow", chats.schema) as writer:
    writer.write_table(chats)
for i in range(2):  # as datasets' save_to_disk lays them out
    with ipc.new_stream(SAVED / f"data-0000{i}-of-00002.arrow", texts.schema) as writer:
        writer.write_table(texts.slice(3 * i, 3))
(SAVED / "state.json").write_text(json.dumps({"_data_files": [{"filename": f"data-0000{i}-of-00002.arrow"} for i in range(2)]}) + "\n")
