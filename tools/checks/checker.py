"""What check_generation.py knows of a model: prompts, their greedy continuations found by hand, and Galapagos' scores."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from check_hf_export import Report, logits_of
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

NEW_TOKENS = 32
LENGTHS = (37, 11, 23, 30)  # of the prompts
TIE = 1e-4  # of two logits
DTYPE = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
LIKELIHOOD_LIMIT = 1e-3  # for the sum over a continuation


class NotHere(Exception):
    """This version of transformers, or this environment, does not have it."""


class Case(NamedTuple):
    prompt: torch.Tensor  # [1, length]
    greedy: torch.Tensor  # ids, found by hand
    gaps: list[float]  # by how much the best logit is ahead of the next, at each of them


class Checker(Report):
    def __init__(self, folder, text):
        super().__init__()
        self.folder, self.results = folder, {}
        self.model = self.load()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts = (json.loads(line)["text"] for line in text.open(encoding="utf-8"))
        encoded = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
        long_enough = (ids for ids in encoded if len(ids) >= max(LENGTHS))
        self.known = {}  # least gap of what was found by hand, by context and continuation
        self.cases = [self.by_hand(torch.tensor([ids[:length]])) for length, ids in zip(LENGTHS, long_enough)]
        if len(self.cases) < len(LENGTHS):
            raise ValueError(f"{text}: fewer than {len(LENGTHS)} documents of {max(LENGTHS)} tokens")
        self.claims = {}  # (context, continuation): who says that it is greedy
        self.sums = []  # (what, context, continuation, log-likelihood)

    def load(self, **options):
        model = AutoModelForCausalLM.from_pretrained(self.folder, trust_remote_code=True, **options).eval()
        model.generation_config.eos_token_id = None  # so that all generate as much
        # Weights that lie on the disk cannot be converted, only loaded so.
        return model if DTYPE in options else model.float()

    def by_hand(self, prompt, count=NEW_TOKENS):
        ids, gaps = prompt, []
        for _ in range(count):
            best = logits_of(self.model, ids)[0, -1].topk(2)
            gaps.append((best.values[0] - best.values[1]).item())
            ids = torch.cat([ids, best.indices[:1, None]], dim=1)
        greedy = ids[0, prompt.shape[1]:]
        self.known[tuple(prompt[0].tolist()), tuple(greedy.tolist())] = min(gaps)
        return Case(prompt, greedy, gaps)

    def line(self, ok, what, figure):
        super().line(ok, what, figure)
        self.results[what] = "ok" if ok else "FAILED"

    def run(self, what, check):
        """Notes what the check says, also where it ends with an error."""
        ties = []
        try:
            self.line(True, what, check(self, ties))
        except NotHere as reason:
            self.results[what] = "-"
            print(f"-      {what}: {reason}")
        except Exception as error:  # whatever an engine throws is a result to show
            self.line(False, what, f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0]}")
        if ties:
            print(f"TIE    {what}: {'; '.join(ties)}")
            if self.results[what] == "ok":
                self.results[what] = "TIE"

    def expect(self, ties, who, rows, cases=None):
        """Rows of new tokens are the greedy ones of the cases; all are remembered for the scorer."""
        cases = self.cases if cases is None else cases
        for case, row in zip(cases, rows):
            self.claims.setdefault((tuple(case.prompt[0].tolist()), tuple(row.tolist())), []).append(who)
        for i, (case, row) in enumerate(zip(cases, rows)):
            if len(row) != len(case.greedy):
                raise AssertionError(f"{who}: prompt {i} got {len(row)} tokens, not {len(case.greedy)}")
            different = (row != case.greedy).nonzero()
            if len(different):
                at = different[0].item()
                where = f"{who}: prompt {i} differs from token {at} on, where logits are {case.gaps[at]:.1e} apart"
                if case.gaps[at] >= TIE:
                    raise AssertionError(where)
                ties.append(where)

    def generate(self, prompt, model=None, **options):
        options = {"attention_mask": torch.ones_like(prompt), "do_sample": False, "max_new_tokens": NEW_TOKENS,
                   "pad_token_id": 0, **options}
        with torch.no_grad():
            return (model or self.model).generate(prompt, **options)

    def each(self, ties, who, model=None, **options):
        """Generates for each prompt alone."""
        rows = [self.generate(case.prompt, model, **options)[0, case.prompt.shape[1]:] for case in self.cases]
        self.expect(ties, who, rows)
        return f"{sum(map(len, rows))} tokens"

    def padded(self):
        """All prompts as one batch, padded on the left, and its mask."""
        width = max(LENGTHS)
        rows = [torch.nn.functional.pad(case.prompt, (width - case.prompt.shape[1], 0)) for case in self.cases]
        masks = [torch.arange(width)[None] >= width - case.prompt.shape[1] for case in self.cases]
        return torch.cat(rows), torch.cat(masks).long()

    def in_batch(self, ties, who, model=None, **options):
        batch, mask = self.padded()
        self.expect(ties, who, self.generate(batch, model, attention_mask=mask, **options)[:, batch.shape[1]:])

    def same(self, what, length, ways):
        """Ways to generate give the same sequences of the same log-likelihoods, which the scorer shall find too."""
        for sequences, sums in ways:
            for row, total in zip(sequences, sums):
                self.sums.append((what, row[:length].tolist(), row[length:].tolist(), total.item()))
        (first, sums), (second, others) = ways
        if not torch.equal(first, second):
            raise AssertionError(f"with and without a cache differ, log-likelihoods {sums.tolist()} and {others.tolist()}")
        if not (sums - others).abs().max() < LIKELIHOOD_LIMIT:
            raise AssertionError(f"log-likelihoods differ by {(sums - others).abs().max():.1e}")

    # --- the scorer -------------------------------------------------------------------------------

    def score(self, program):
        """Puts all that was generated to galapagos; its answers by context and continuation."""
        requests = list(dict.fromkeys([*self.claims, *((tuple(a), tuple(b)) for _, a, b, _ in self.sums)]))
        with tempfile.TemporaryDirectory() as folder:
            asked, answered = Path(folder) / "requests.jsonl", Path(folder) / "scores.jsonl"
            asked.write_text("".join(json.dumps({"context": a, "continuation": b}) + "\n" for a, b in requests))
            subprocess.run([program, "eval", "--model", self.folder, "--score", asked, "--scores", answered, "--precision",
                            "fp32", "--backend", "cpu", "--log-level", "warning"], check=True, stdout=subprocess.DEVNULL)
            self.answers = dict(zip(requests, map(json.loads, answered.read_text().splitlines()), strict=True))

    def scored_greedy(self, ties):
        wrong = {}
        for request, who in self.claims.items():
            if not self.answers[request]["greedy"]:
                gap = self.known.get(request)
                if gap is not None and gap < TIE:
                    ties.append(f"not greedy ({', '.join(who)}), but logits are {gap:.1e} apart")
                else:
                    wrong.update(dict.fromkeys(who))
        if wrong:
            raise AssertionError(f"galapagos does not call greedy what was generated: {', '.join(wrong)}")
        return f"{len(self.claims)} continuations, logits at least {min(self.known.values()):.1e} apart"

    def scored_likelihoods(self, _):
        if not self.sums:
            raise AssertionError("nothing was generated with log-likelihoods")
        worst = 0.0
        for what, context, continuation, total in self.sums:
            answer = self.answers[tuple(context), tuple(continuation)]["logprob"]
            worst = max(worst, abs(answer - total))
            if not abs(answer - total) < LIKELIHOOD_LIMIT:
                raise AssertionError(f"{what}: transformers says {total:.4f}, galapagos {answer:.4f}")
        return f"{len(self.sums)} sequences, greatest difference {worst:.1e}"
