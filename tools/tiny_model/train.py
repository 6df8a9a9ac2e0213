#!/usr/bin/env python3
"""Trains the tiny model of tests/data/models/tiny, and before it its tokenizer.

How to run, from the root of the source tree, on Debian 12 (Python 3.11.2, python3-torch 1.13.1):

    apt-get install python3-torch python3-venv
    /usr/bin/python3 -m venv --system-site-packages build/tiny_venv
    build/tiny_venv/bin/pip install -r tools/tiny_model/requirements.txt
    build/tiny_venv/bin/python tools/tiny_model/make_text.py --train build/tiny_model/train.jsonl
    build/tiny_venv/bin/python tools/tiny_model/train.py --text build/tiny_model/train.jsonl

Made with torch 1.13.1, transformers 4.45.2, tokenizers 0.20.3, safetensors 0.8.0, numpy 1.24.2. All
is seeded, but other versions, processors or numbers of processes give other last digits, and so
another model of the same quality.

To see what depth is worth, train a shallow one beside it: `--layers 2 --output DIR`. With
`--steps 0` nothing is trained: the model in `--output` is loaded and evaluated.
"""

import argparse
import ctypes
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# The processes are the parallelism: with threads on top they get into each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch  # noqa: E402
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

# As in Llama 3.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
VOCAB, LENGTH, SEED = 1024, 256, 5
BOS_ID, EOS_ID = VOCAB - 2, VOCAB - 1
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 5e-3, 150, 0.1
BOS_SHARE = 0.25  # of the documents; a model is evaluated with and without


def read_texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def make_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE whose last two ids are BOS and EOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([BOS, EOS])
    assert (tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)) == (BOS_ID, EOS_ID)
    template = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, BOS_ID)]
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    document = json.loads(tokenizer.to_str())
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


def batches(
    documents: list[list[int]], tokens: int, rng: random.Random
) -> Iterator[list[list[int]]]:
    """For ever: documents of about the same length together, so that little is padding."""
    while True:
        order = rng.sample(documents, len(documents))
        for start in range(0, len(order), 8192):
            pool = sorted(order[start : start + 8192], key=len)
            ready: list[list[list[int]]] = [[]]
            for document in pool:
                if (len(ready[-1]) + 1) * len(document) > tokens:
                    ready.append([])
                ready[-1].append(document)
            rng.shuffle(ready)
            yield from ready


def mean_loss(model: LlamaForCausalLM, sequences: list[list[int]]) -> torch.Tensor:
    """A sequence a row; attention is causal, so the padding behind changes nothing."""
    width = max(map(len, sequences))
    ids = torch.tensor([s + [0] * (width - len(s)) for s in sequences])
    labels = torch.tensor([s[1:] + [-100] * (width - len(s)) for s in sequences])
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, VOCAB), labels.reshape(-1), ignore_index=-100
    )


def evaluate(model: LlamaForCausalLM, sequences: list[list[int]]) -> float:
    model.eval()
    total = count = 0.0
    ordered = sorted(sequences, key=len)
    with torch.no_grad():
        for start in range(0, len(ordered), 16):
            part = ordered[start : start + 16]
            predicted = sum(len(s) - 1 for s in part)
            total += mean_loss(model, part).item() * predicted
            count += predicted
    model.train()
    return total / count


def make_model(layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=128,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=16,
        intermediate_size=352,
        vocab_size=VOCAB,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            # So that the sum of all layers does not grow with their number.
            for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                weight /= math.sqrt(2 * layers)
    return model


def rate(step: int, steps: int, peak: float) -> float:
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, steps - WARM_UP)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def keep_memory() -> None:
    """Lets malloc keep what is freed: getting it back at each step took a third of the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # not glibc: only slower


def add_up_gradients(model: LlamaForCausalLM) -> None:
    """The mean over the processes, in place."""
    gradients = [p.grad for p in model.parameters()]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(part.view_as(gradient))


def train(
    rank: int,
    job: argparse.Namespace,
    documents: list[list[int]],
    heldout: list[list[int]],
) -> None:
    """One of the processes, which all hold the same model and share each batch."""
    keep_memory()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{job.meeting}", rank=rank, world_size=job.processes
    )
    rng = random.Random(SEED + rank)
    model = make_model(job.layers)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=job.rate,
        betas=(0.9, 0.98),
    )
    mine = documents[rank :: job.processes]
    begin, seen, running = time.time(), 0, 0.0
    for step, batch in zip(range(job.steps), batches(mine, job.batch_tokens // job.processes, rng)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, job.steps, job.rate)
        rows = [([BOS_ID] if rng.random() < BOS_SHARE else []) + ids + [EOS_ID] for ids in batch]
        loss = mean_loss(model, [row[:LENGTH] for row in rows])
        optimizer.zero_grad()
        loss.backward()
        add_up_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += sum(map(len, rows)) * job.processes
        running += loss.item()
        if (step + 1) % 100 == 0 and rank == 0:
            line = f"step {step + 1}, {seen / 1e6:.2f} M tokens, {time.time() - begin:.0f} s"
            line += f", loss {running / 100:.4f}"
            if (step + 1) % 1000 == 0:
                line += f", held out {evaluate(model, heldout):.4f}"
            print(line, flush=True)
            running = 0.0
    if rank == 0:
        print(f"held out, float32: {evaluate(model, heldout):.5f}", flush=True)
        model.to(torch.bfloat16).save_pretrained(job.output, safe_serialization=True)
        (job.output / "generation_config.json").unlink()
    torch.distributed.barrier()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True, help="training text, by make_text.py")
    parser.add_argument("--heldout", type=Path, default=Path("tests/data/text/tiny_heldout.jsonl"))
    parser.add_argument("--output", type=Path, default=Path("tests/data/models/tiny"))
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rate", type=float, default=PEAK_RATE)
    job = parser.parse_args()
    job.output.mkdir(parents=True, exist_ok=True)

    if job.steps:
        texts = read_texts(job.text)
        tokenizer = make_tokenizer(texts[:30_000])
        save_tokenizer(tokenizer, job.output)
        documents = encode(tokenizer, texts)
        heldout = encode(tokenizer, read_texts(job.heldout))
        lengths = sorted(map(len, documents))
        print(
            f"{len(documents)} documents, {sum(lengths)} tokens, median"
            f" {lengths[len(lengths) // 2]}, longest {lengths[-1]};"
            f" {make_model(job.layers).num_parameters()} parameters",
            flush=True,
        )
        with tempfile.TemporaryDirectory() as folder:
            job.meeting = f"{folder}/meeting"
            torch.multiprocessing.spawn(train, (job, documents, heldout), job.processes)

    tokenizer = Tokenizer.from_file(str(job.output / "tokenizer.json"))
    heldout = encode(tokenizer, read_texts(job.heldout))
    model = LlamaForCausalLM.from_pretrained(job.output, torch_dtype=torch.float32)
    for name, documents in (("", heldout), (" with BOS", [[BOS_ID] + ids for ids in heldout])):
        loss = evaluate(model, documents)
        print(f"held out{name}, as stored: {loss:.5f} per token, perplexity {math.exp(loss):.4f}")


if __name__ == "__main__":
    main()
