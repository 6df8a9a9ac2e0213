"""The ways in which transformers generates, one function each, for check_generation.py.

Each takes a Checker and a list that it adds ties to, and returns a figure to print; it raises where something is wrong.
"""

import copy

import torch
from check_hf_export import CACHE_NAME, logits_of, step_by_step
from checker import LENGTHS, NEW_TOKENS, NotHere
from transformers import GenerationConfig, StaticCache


def cached_logits(checker, _):
    worst = 0.0
    for case in checker.cases:
        ids = torch.cat([case.prompt, case.greedy[None]], dim=1)
        worst = max(worst, (step_by_step(checker.model, ids) - logits_of(checker.model, ids)).abs().max().item())
    if not worst < 1e-4:
        raise AssertionError(f"greatest difference {worst:.1e}")
    return f"greatest difference {worst:.1e}"


def greedy_uncached(checker, ties):
    return checker.each(ties, "greedy, no cache", use_cache=False)


def greedy_cached(checker, ties):
    return checker.each(ties, "greedy, cache")


def batch(checker, ties):
    """Prompts of the same length, without a mask: each is the beginning of another."""
    length, most = min(LENGTHS), 8
    cases = [checker.by_hand(case.prompt[:, :length], most) for case in checker.cases]
    together = torch.cat([case.prompt for case in cases])
    for cache in (True, False):
        rows = checker.generate(together, use_cache=cache, max_new_tokens=most)[:, length:]
        checker.expect(ties, f"batch, use_cache={cache}", rows, cases)
    return f"{2 * rows.numel()} tokens"


def left_padding(checker, ties):
    for cache in (True, False):
        checker.in_batch(ties, f"left padding, use_cache={cache}", use_cache=cache)
    return f"{2 * len(checker.cases) * NEW_TOKENS} tokens"


def eager(checker, ties):
    model = checker.load(attn_implementation="eager")
    checker.in_batch(ties, "eager attention", model)
    return checker.each(ties, "eager attention", model)


def beams(checker, _):
    options = {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.0, "output_scores": True,
               "return_dict_in_generate": True}
    alone = []
    for case in checker.cases:
        length = case.prompt.shape[1]
        ways = [checker.generate(case.prompt, use_cache=cache, **options) for cache in (True, False)]
        checker.same("beams", length, [(way.sequences, way.sequences_scores) for way in ways])
        alone.append(ways[0].sequences[:, length:])
    batch, mask = checker.padded()
    together = checker.generate(batch, attention_mask=mask, **options).sequences[:, batch.shape[1]:]
    if not torch.equal(together, torch.cat(alone)):
        raise AssertionError("a padded batch differs from prompts alone")
    return f"{together.numel()} tokens of {len(together)} sequences"


def sampling(checker, _):
    def sample(prompt, cache):
        torch.manual_seed(1)
        found = checker.generate(prompt, use_cache=cache, do_sample=True, top_k=0, num_return_sequences=4,
                                 output_scores=True, return_dict_in_generate=True)
        return found.sequences, checker.model.compute_transition_scores(
            found.sequences, found.scores, normalize_logits=True).sum(dim=1)

    for case in checker.cases:
        checker.same("samples", case.prompt.shape[1], [sample(case.prompt, cache) for cache in (True, False)])
    return f"{4 * len(checker.cases) * NEW_TOKENS} tokens"


def static_cache(checker, ties):
    if not checker.model._supports_static_cache:
        try:
            checker.each(ties, "static cache", cache_implementation="static")
        except ValueError as error:
            raise NotHere(f"refused: {error}") from None
        raise AssertionError("neither supported nor refused")
    figure = checker.each(ties, "static cache", cache_implementation="static")
    checker.in_batch(ties, "static cache, left padding", cache_implementation="static")
    rows = []
    for case in checker.cases:
        cache = StaticCache(config=checker.model.config, max_cache_len=max(LENGTHS) + NEW_TOKENS)
        rows.append(checker.generate(case.prompt, **{CACHE_NAME: cache})[0, case.prompt.shape[1]:])
    checker.expect(ties, "static cache of the user", rows)
    return figure


def chunked(checker, ties):
    if not hasattr(GenerationConfig(), "prefill_chunk_size"):
        raise NotHere("prefill_chunk_size is unknown")
    return checker.each(ties, "chunked prompt", prefill_chunk_size=8)


def embeddings(checker, ties):
    table = checker.model.get_input_embeddings()
    rows = [checker.generate(case.prompt, inputs_embeds=table(case.prompt))[0, -NEW_TOKENS:] for case in checker.cases]
    checker.expect(ties, "embeddings", rows)
    return f"{sum(map(len, rows))} tokens"


def continued(checker, ties):
    """A second call goes on with the cache of the first."""
    rows, half = [], NEW_TOKENS // 2
    for case in checker.cases:
        first = checker.generate(case.prompt, max_new_tokens=half, return_dict_in_generate=True)
        second = checker.generate(first.sequences, max_new_tokens=NEW_TOKENS - half, **{CACHE_NAME: first[CACHE_NAME]})
        rows.append(second[0, case.prompt.shape[1]:])
    checker.expect(ties, "continued cache", rows)
    return f"{sum(map(len, rows))} tokens"


def prompt_lookup(checker, ties):
    # Up to 4.57 it insists on an end of the sequence; so let it be a token that never comes.
    written = {id for case in checker.cases for id in case.greedy.tolist()}
    unused = min(set(range(checker.model.config.vocab_size)) - written)
    rows = [checker.generate(case.prompt, prompt_lookup_num_tokens=4, eos_token_id=unused) for case in checker.cases]
    # Up to 4.57 it may also write a token more than it was asked for.
    rows = [row[0, case.prompt.shape[1]:][:NEW_TOKENS] for row, case in zip(rows, checker.cases)]
    checker.expect(ties, "prompt lookup", rows)
    return f"{sum(map(len, rows))} tokens"


def assisted(checker, ties):
    """The assistant is this model with noise, so that some of its tokens are taken and some are not; or its first layers."""
    assistant = copy.deepcopy(checker.model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in assistant.parameters():
            weight += 0.1 * weight.std() * torch.randn(weight.shape, generator=generator)
    assistant.generation_config.num_assistant_tokens = 5
    assistant.generation_config.num_assistant_tokens_schedule = "constant"
    figure = checker.each(ties, "assisted", assistant_model=assistant)
    if hasattr(GenerationConfig(), "assistant_early_exit"):
        checker.each(ties, "assisted by an early exit", assistant_early_exit=checker.model.config.num_hidden_layers // 2)
    return figure


WAYS = {
    "logits with a cache": cached_logits,
    "greedy, no cache": greedy_uncached,
    "greedy, cache": greedy_cached,
    "batch": batch,
    "left padding": left_padding,
    "eager attention": eager,
    "beams": beams,
    "sampling": sampling,
    "static cache": static_cache,
    "chunked prompt": chunked,
    "from embeddings": embeddings,
    "continued cache": continued,
    "prompt lookup": prompt_lookup,
    "assisted": assisted,
}
