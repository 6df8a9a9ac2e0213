#!/usr/bin/env python3
"""Makes qwen3_moe_odd of tests/data/models, whose routers are extreme, and what transformers computes with it.

Layers 1 and 3 are mixtures of which a token gets three experts, whose weights do not add up to 1. The router of layer
1 is made for the golden tokens: of its experts one gets all of them, one gets none and one gets a single one; two have
the same row and so tie. Rows and files are as tools/goldens/forward.py, which says how to install what this needs,
writes them (torch 2.15, transformers 5.24.0; 4.57.6 computes the same logits to 1e-5):

    .venv/bin/python tools/goldens/odd_routers.py --output tests/data

Ties: where both of the two are among the best three, or neither is, their order does not matter. Where one place is
left for both, the lower index has to win, while torch.topk leaves that open. What it does depends on the order of all
the values, so the roles of the experts are permuted until it takes the lower one at every golden token. The rows of
the two have one entry, a power of 2, so that their logits are exactly equal in whatever order sums are computed.
"""

import argparse
import itertools
import sys
from pathlib import Path

import forward
import torch
import transformers
from transformers import AutoModelForCausalLM

NAME, SEED = "qwen3_moe_odd", 13  # of the seeds from 11 to 30 the one with the clearest routing in layer 3
CONFIG = transformers.Qwen3MoeConfig(
    hidden_size=32, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2, head_dim=8,
    intermediate_size=48, moe_intermediate_size=24, num_experts=6, num_experts_per_tok=3, norm_topk_prob=False,
    mlp_only_layers=[0], decoder_sparse_step=2, vocab_size=96, max_position_embeddings=512,
    tie_word_embeddings=False, bos_token_id=0, eos_token_id=1)
CRAFTED, CENTERED = "model.layers.1.mlp.gate", "model.layers.3.mlp.gate"
ROLES = ("all", "none", "one", "tied", "tied too", "usual")
# Every embedding has this in entry 0, which thus is positive in whatever the router sees.
COMMON = 8.0
GAIN = 8.0  # of what experts of layer 1 put out


def router_inputs(model, tokens, router):
    inputs = []
    hook = forward.routers(model)[router].register_forward_hook(
        lambda _, given, __: inputs.append(given[0].flatten(0, -2)))
    with torch.no_grad():
        model(tokens)
    hook.remove()
    return inputs[0]


def centered(rows, x):
    """The rows with another entry 0, so that their logits have a mean of 0: what is in common decides nothing."""
    rows = rows.clone()
    rows[..., 0] -= rows @ x.mean(0) / x[:, 0].mean()
    return rows


def rows_of_roles(x, generator):
    """Rows of the router for the tokens whose hidden states are x, by role."""
    common = torch.zeros(x.shape[1])
    common[0] = 1.0
    usual = centered(torch.randn(x.shape[1], generator=generator) / x.shape[1]**0.5, x)
    tied = torch.zeros(x.shape[1])
    tied[(x.mean(0).abs() / x.std(0)).argmin()] = 0.5
    # The direction in which one token is farthest from all others, and the threshold half way to them.
    directions = torch.linalg.solve(x.T @ x, x.T)
    scores = x @ directions / x[:, :1]  # of each token for each direction, as multiples of what is in common
    best, at = scores.topk(2, dim=0)
    gap = best[0] - best[1]
    gap[at[0] != torch.arange(len(x))] = 0.0
    chosen = int(gap.argmax())
    one = directions[:, chosen] - common * best[:, chosen].mean()
    one = one * 6.0 / (gap[chosen] * x[chosen, 0])
    return {"all": common, "none": -common, "one": one, "tied": tied, "tied too": tied, "usual": usual}


def lower_index_first(logits, count):
    return logits.sort(dim=-1, descending=True, stable=True).indices[:, :count].sort().values


def agrees(logits, count):
    """Whether torch.topk takes the experts that it would if the lower index won every tie."""
    chosen = logits.float().softmax(-1).topk(count).indices.sort().values
    return torch.equal(chosen, lower_index_first(logits, count))


def craft(model, tokens, generator):
    """Sets the router of layer 1 and returns the roles of its experts."""
    count = CONFIG.num_experts_per_tok
    rows = rows_of_roles(router_inputs(model, tokens, CRAFTED), generator)
    weight = forward.routers(model)[CRAFTED].weight
    for roles in itertools.permutations(ROLES):
        if roles.index("tied") > roles.index("tied too"):
            continue
        with torch.no_grad():
            weight.copy_(torch.stack([rows[role] for role in roles]).to(torch.bfloat16))
        if agrees(forward.router_logits(model, tokens)[CRAFTED], count):
            return roles
    sys.exit("torch.topk lets the higher index win in every order of the experts")


def check(folder, tokens, roles):
    """Asserts of the model on disk what the docstring promises."""
    count = CONFIG.num_experts_per_tok
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    logits = forward.router_logits(model, tokens)[CRAFTED]
    chosen = lower_index_first(logits, count)
    assert agrees(logits, count)
    histogram = dict(zip(roles, torch.bincount(chosen.flatten(), minlength=len(roles)).tolist()))
    assert (histogram["all"], histogram["none"], histogram["one"]) == (tokens.numel(), 0, 1), histogram
    lower, upper = roles.index("tied"), roles.index("tied too")
    assert torch.equal(logits[:, lower], logits[:, upper])
    takes_lower, takes_upper = (chosen == lower).any(-1), (chosen == upper).any(-1)
    border = int((takes_lower & ~takes_upper).sum())
    both = int((takes_lower & takes_upper).sum())
    assert border > 10 and both > 10 and not (takes_upper & ~takes_lower).any()
    # Without the ties every choice is clear.
    distinct = [role for role in range(len(roles)) if role != upper]
    ordered = logits[:, distinct].sort(dim=-1, descending=True).values
    lead = (ordered[:, :-1] - ordered[:, 1:]).min()
    assert lead > 1e-3, lead
    print(f"{folder.name}, layer 1: {', '.join(f'{role}: {n} tokens' for role, n in histogram.items())}; "
          f"the tied ones: both {both} times, only the lower one {border} times; "
          f"least lead otherwise {lead:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder that has models/ and forward/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    folder, seed = arguments.output / "models" / NAME, 20 + SEED
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_config(CONFIG, attn_implementation="eager")
    forward.randomize(model, seed)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = COMMON
        # So that it matters which expert a token gets, although its share may be small.
        model.get_parameter("model.layers.1.mlp.experts.down_proj").mul_(GAIN)
    # The router is made for what it will see from the weights as stored.
    model = model.to(torch.bfloat16).float().eval()
    tokens = forward.golden_tokens(CONFIG.vocab_size, seed + 100)
    roles = craft(model, tokens, torch.Generator().manual_seed(seed + 200))
    with torch.no_grad():
        weight = forward.routers(model)[CENTERED].weight
        weight.copy_(centered(weight, router_inputs(model, tokens, CENTERED)))
    forward.save_config(CONFIG, torch.bfloat16, folder)
    forward.save_weights(forward.stored_tensors(model, torch.bfloat16), folder, 1)
    forward.make_goldens(folder, arguments.output / "forward" / f"{NAME}.safetensors", seed + 100)
    check(folder, tokens, roles)


if __name__ == "__main__":
    main()
