"""The ways in which transformers loads, calls and trains a model, one function each, for check_generation.py.

As in ways_to_generate.py.
"""

import importlib.util
import tempfile

import torch
import transformers
from check_hf_export import logits_of
from check_training import trained_alike
from checker import DTYPE, NotHere
from transformers import AutoModel


def base_class(checker, _):
    base = AutoModel.from_pretrained(checker.folder, trust_remote_code=True).float().eval()
    ids = checker.cases[0].prompt
    with torch.no_grad():
        states = base(ids).last_hidden_state
        difference = (checker.model.lm_head(states) - logits_of(checker.model, ids)).abs().max().item()
    if difference != 0:
        raise AssertionError(f"the head on AutoModel's states differs by {difference:.1e}")
    return "the same states"


def device_map(checker, ties):
    """Built without memory, then filled; layers also from the disk, by hooks around each module."""
    if importlib.util.find_spec("accelerate") is None:
        raise NotHere("accelerate is missing")
    checker.each(ties, "low_cpu_mem_usage", checker.load(low_cpu_mem_usage=True))
    checker.each(ties, "device_map", checker.load(device_map={"": "cpu"}))
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    for i in range(checker.model.config.num_hidden_layers):
        places[f"model.layers.{i}"] = "disk" if i % 2 else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        model = checker.load(device_map=places, offload_folder=folder, **{DTYPE: torch.float32})
        return checker.each(ties, "layers on the disk", model)


def training(checker, _):
    return trained_alike(checker.load(), [case.prompt for case in checker.cases])


def refusals(checker, _):
    """State under an unknown name is refused, and so are two caches."""
    ids = checker.cases[0].prompt
    cache, other = transformers.DynamicCache(), transformers.DynamicCache()
    for arguments in ({"past": cache}, {"cache_params": cache}, {"layer_past": [1]}, {"state": [1]}, {"draft": cache},
                      {"cache": cache, "past_key_values": other}, {"cache": ((1, 2),)}):
        for model in (checker.model, checker.model.model):
            try:
                model(ids, **arguments)
            except ValueError as error:
                if all(name in str(error) for name in arguments):
                    continue
            raise AssertionError(f"{', '.join(arguments)} is not refused by name")
    for name in ("cache", "past_key_values"):
        with torch.no_grad():
            known = transformers.DynamicCache()
            checker.model(ids[:, :-1], use_cache=True, **{name: known})
            found = checker.model(ids[:, -1:], use_cache=True, cache_position=torch.tensor([ids.shape[1] - 1]),
                                  output_router_logits=False, **{name: known}).logits[0, -1].argmax()
        if found != checker.cases[0].greedy[0]:
            raise AssertionError(f"a cache given as {name} is not used")
    return "by name"


WAYS = {"AutoModel": base_class, "device_map": device_map, "training": training, "refuses state": refusals}
