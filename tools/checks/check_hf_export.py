#!/usr/bin/env python3
"""Checks a model written by the hf export with Hugging Face transformers.

    python tools/checks/check_hf_export.py DIR [--dense DIR2] [--tokens FILE] [--golden OUT.safetensors]

Loads DIR with trust_remote_code in float32 and compares: with the same model as a stock class with zeroed columns
(--dense), a pass over all tokens with one token at a time, greedy generation with and without a cache, and padding on
either side with none. Token ids are random, or `tokens` [sequences, length] of a safetensors file (--tokens).
--golden writes `tokens` (int32) and `logits` (float32, every position).

Exits with 1 if anything differs by more than 1e-4 at logits of 10, relatively beyond that. Needs torch, transformers
(4.45 or later) and safetensors.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

# What this transformers calls the KV cache: past_key_values up to 5.23, and cache since.
CACHE_NAME = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
LIMIT = 1e-4
NEW_TOKENS = 24


def load(folder, remote, attention=None):
    options = {} if attention is None else {"attn_implementation": attention}
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=remote, **options)
    return model.float().eval()


def logits_of(model, tokens, **options):
    with torch.no_grad():
        return model(tokens, use_cache=False, **options).logits


def generate(model, tokens, **options):
    options = {"attention_mask": torch.ones_like(tokens), **options}
    with torch.no_grad():
        # A minimum length, so that an early end-of-sequence token does not hide differences.
        return model.generate(tokens, do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
                              pad_token_id=0, **options)[:, tokens.shape[1]:]


def step_by_step(model, tokens):
    """Logits from feeding a part of the tokens, then one at a time, with a cache."""
    start = tokens.shape[1] // 2
    with torch.no_grad():
        output = model(tokens[:, :start], use_cache=True)
        parts = [output.logits]
        for i in range(start, tokens.shape[1]):
            output = model(tokens[:, i:i + 1], use_cache=True, **{CACHE_NAME: output[CACHE_NAME]})
            parts.append(output.logits)
    return torch.cat(parts, dim=1)


class Report:
    def __init__(self):
        self.failed = False

    def line(self, ok, what, figure):
        self.failed |= not ok
        print(f"{'ok    ' if ok else 'FAILED'} {what}: {figure}")

    def close(self, what, found, expected):
        scale = max(1.0, expected.abs().max().item() / 10)
        difference = (found - expected).abs().max().item()
        ok = difference <= LIMIT * scale  # false also for NaN
        self.line(ok, what, f"greatest difference {difference:.2e}, largest logit {expected.abs().max():.1f}")

    def same(self, what, found, expected):
        wrong = (found != expected).sum().item()
        self.line(wrong == 0, what, f"{wrong} of {expected.numel()} tokens differ")


def check_padding(report, model, tokens, logits, generated):
    """A batch of one full sequence and one shorter by `pad`, padded on the left, then on the right."""
    pad = max(1, tokens.shape[1] // 3)
    full, short = tokens[:1], tokens[:1, pad:]
    alone = logits_of(model, short)
    for side in ("left", "right"):
        fill = torch.zeros(1, pad, dtype=torch.long)
        row = torch.cat([fill, short] if side == "left" else [short, fill], dim=1)
        mask = torch.ones(2, tokens.shape[1], dtype=torch.long)
        place = slice(pad, None) if side == "left" else slice(None, -pad)
        mask[1] = 0
        mask[1, place] = 1
        batch = torch.cat([full, row])
        padded = logits_of(model, batch, attention_mask=mask)
        report.close(f"{side} padding, padded sequence", padded[1:, place], alone)
        report.close(f"{side} padding, full sequence", padded[:1], logits[:1])
        if side == "left":
            result = generate(model, batch, attention_mask=mask)
            expected = torch.cat([generated[:1], generate(model, short)])
            report.same("left padding, generated", result, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--dense", type=Path, metavar="DIR2", help="the dense export of the same model")
    parser.add_argument("--tokens", type=Path, metavar="FILE", help="safetensors file with `tokens`")
    parser.add_argument("--golden", type=Path, metavar="OUT", help="write tokens and logits there")
    parser.add_argument("--attention", choices=["eager", "sdpa"], help="rather than the default of transformers")
    parser.add_argument("--length", type=int, default=48, help="tokens of a random sequence")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = Report()

    model = load(arguments.folder, True, arguments.attention)
    if arguments.tokens:
        tokens = load_file(arguments.tokens)["tokens"].long()
    else:
        generator = torch.Generator().manual_seed(arguments.seed)
        tokens = torch.randint(model.config.vocab_size, (2, arguments.length), generator=generator)
    logits = logits_of(model, tokens)
    generated = generate(model, tokens)
    if arguments.dense:
        dense = load(arguments.dense, False, arguments.attention)
        report.close("against the dense export", logits, logits_of(dense, tokens))
        report.same("against the dense export, generated", generated, generate(dense, tokens))
        del dense
    report.line(bool(torch.isfinite(logits).all()), "finite logits", f"{logits.numel()}")
    report.close("one token at a time", step_by_step(model, tokens), logits)
    report.same("generated without a cache", generate(model, tokens, use_cache=False), generated)
    check_padding(report, model, tokens, logits, generated)
    if arguments.golden:
        save_file({"tokens": tokens.to(torch.int32), "logits": logits.contiguous()}, arguments.golden)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
