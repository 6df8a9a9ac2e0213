#!/usr/bin/env python3
"""Makes the small random models of tests/data/models and what Hugging Face transformers computes with them.

For each model: config.json and its weights as safetensors in tests/data/models/<name>/, and in
tests/data/forward/<name>.safetensors the token ids `tokens` [2, 96] I32, the `positions` [p] I32 at which
logits are kept, and the `logits` [2, p, vocab] F32, computed in float32 from the weights as stored; for phi3_tiny also
in <name>_short.safetensors, with sequences that are no longer than the model was first trained with.

How to run, from the root of the source tree (the data were made with torch 1.13, but for those from qwen3_tiny on: with torch 2.15 and
transformers 5.24.0; the tokenizers of qwen3_tiny, biased_tiny, phi3_tiny, gemma3_tiny and qwen3_moe_tiny are
qwen2_tiny's; transformers 4.57.6 computes the same logits of the mixtures of experts to 1e-5):

    python3 -m venv .venv
    .venv/bin/pip install 'torch' 'transformers==4.45.2' 'numpy<2' safetensors
    .venv/bin/python -P tools/goldens/forward.py --output tests/data

-P (Python 3.11) keeps the neighbouring tokenizers.py from standing in for the package of that name.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

SEQUENCES, LENGTH, VOCAB = 2, 96, 768
# Early ones, both sides of llama3_tiny's original context of 64, and the end.
POSITIONS = [0, 1, 2, 7, 31, 32, 62, 63, 64, 65, 94, 95]

MODELS = {
    # Grouped KV heads, a query width (128) other than the hidden size, scaled rope.
    "llama3_tiny": (
        LlamaConfig(
            hidden_size=64, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, head_dim=16,
            intermediate_size=176, vocab_size=VOCAB, max_position_embeddings=512, rms_norm_eps=1e-5,
            rope_theta=500000.0,
            rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                          "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=1),
        torch.bfloat16, 1),
    # Biases on q, k and v; tied embeddings.
    "qwen2_tiny": (
        Qwen2Config(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
            intermediate_size=160, vocab_size=VOCAB, max_position_embeddings=512, rms_norm_eps=1e-6,
            rope_theta=1000000.0, tie_word_embeddings=True, use_sliding_window=False,
            bos_token_id=0, eos_token_id=1),
        torch.float16, 1),
    # One KV head per query head, plain rope, two shards.
    "llama2_tiny": (
        LlamaConfig(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=6,
            intermediate_size=128, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
            tie_word_embeddings=False, bos_token_id=1, eos_token_id=2),
        torch.float16, 2),
}
if hasattr(transformers, "Qwen3Config"):  # since 4.51
    # Norms of the heads of q and k, whose width (128) is not the hidden size.
    MODELS["qwen3_tiny"] = (
        transformers.Qwen3Config(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2, head_dim=16,
            intermediate_size=160, vocab_size=VOCAB, max_position_embeddings=512, rms_norm_eps=1e-6,
            tie_word_embeddings=False, use_sliding_window=False, bos_token_id=0, eos_token_id=1),
        torch.bfloat16, 1)
if hasattr(transformers, "Phi3Config"):  # since 4.41
    # Biases everywhere; yarn, whose cosines and sines are scaled.
    MODELS["biased_tiny"] = (
        LlamaConfig(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            intermediate_size=48, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
            attention_bias=True, mlp_bias=True, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
            rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                          "beta_fast": 8.0}),
        torch.bfloat16, 1)
    # Fused projections; half of a head turns, in long sequences otherwise than in short ones.
    MODELS["phi3_tiny"] = (
        transformers.Phi3Config(
            hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=64, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
            original_max_position_embeddings=64, partial_rotary_factor=0.5, pad_token_id=None,
            rope_scaling={"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3],
                          "long_factor": [1.5, 3.0, 6.0]},
            tie_word_embeddings=True, bos_token_id=0, eos_token_id=1),
        torch.bfloat16, 1)
if hasattr(transformers, "SmolLM3Config"):  # since 4.53
    # A window in every layer, shorter than the sequences.
    MODELS["mistral_tiny"] = (
        transformers.MistralConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            intermediate_size=56, vocab_size=96, max_position_embeddings=512, sliding_window=13,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=1),
        torch.bfloat16, 1)
    # Every second layer without rope.
    MODELS["smollm3_tiny"] = (
        transformers.SmolLM3Config(
            hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=56, vocab_size=96, max_position_embeddings=512, no_rope_layer_interval=2,
            bos_token_id=0, eos_token_id=1, pad_token_id=1),
        torch.bfloat16, 1)
    # Norms behind both parts, windows and a rope of their own in some layers, norms of heads, gelu, a scaled embedding,
    # scores scaled otherwise. The square root of the hidden size is the same in every type.
    MODELS["gemma3_tiny"] = (
        transformers.Gemma3TextConfig(
            hidden_size=36, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, head_dim=8,
            intermediate_size=56, vocab_size=VOCAB, max_position_embeddings=512, sliding_window=11,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"], query_pre_attn_scalar=13,
            rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                             "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}},
            bos_token_id=0, eos_token_id=1, pad_token_id=1),
        torch.bfloat16, 1)
    # Caps on scores and on logits, that many reach.
    MODELS["gemma2_tiny"] = (
        transformers.Gemma2Config(
            hidden_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            intermediate_size=56, vocab_size=96, max_position_embeddings=512, sliding_window=17,
            query_pre_attn_scalar=6, attn_logit_softcapping=2.0, final_logit_softcapping=3.0,
            bos_token_id=0, eos_token_id=1, pad_token_id=1),
        torch.bfloat16, 1)
    # Norms that multiply by 1 + weight and gelu alone.
    MODELS["gemma_tiny"] = (
        transformers.GemmaConfig(
            hidden_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, head_dim=10,
            intermediate_size=56, vocab_size=96, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
            pad_token_id=1),
        torch.bfloat16, 1)
    # Mixtures of experts behind one dense layer, whose width is another; weights of the chosen experts add up to 1.
    MODELS["qwen3_moe_tiny"] = (
        transformers.Qwen3MoeConfig(
            hidden_size=32, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2, head_dim=8,
            intermediate_size=48, moe_intermediate_size=24, num_experts=6, num_experts_per_tok=2,
            norm_topk_prob=True, mlp_only_layers=[0], vocab_size=VOCAB, max_position_embeddings=512,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=1),
        torch.bfloat16, 1)
    # Mixtures in every layer, whose tensors have names of their own.
    MODELS["mixtral_tiny"] = (
        transformers.MixtralConfig(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=40,
            num_local_experts=5, num_experts_per_tok=2, vocab_size=96, max_position_embeddings=512,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=1),
        torch.bfloat16, 1)
SHORT = {"phi3_tiny": 64}
# Of models that were not made in the order above. qwen3_moe_tiny's is the one of 9 to 39 with the clearest routing.
NUMBERS = {"mistral_tiny": 4, "smollm3_tiny": 5, "gemma3_tiny": 6, "gemma2_tiny": 7, "gemma_tiny": 8,
           "qwen3_moe_tiny": 31, "mixtral_tiny": 10}
MIXTURES = {"qwen3_moe": "Qwen3Moe", "mixtral": "Mixtral"}


def randomize(model, seed):
    """Weights with which attention is far from uniform and every norm and bias matters."""
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter, mean, deviation):
        parameter.copy_(mean + deviation * torch.randn(parameter.shape, generator=generator))

    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "norm" in name:
                # Gemma's multiply by 1 + weight. Normed heads get their size from the norm alone.
                shift = 1.0 if model.config.model_type.startswith("gemma") else 0.0
                size = 1.8 if shift and ("q_norm" in name or "k_norm" in name) else 1.0
                normal(parameter, size - shift, 0.2)
            elif "embed_tokens" in name:
                # Tied, it is also the head, which turns hidden states of size 1 into logits.
                normal(parameter, 0.0, 2.0 / model.config.hidden_size**0.5)
            elif name.endswith("bias"):
                normal(parameter, 0.0, 0.5)
            elif name.endswith("mlp.gate.weight"):  # of a router: few tokens are undecided
                normal(parameter, 0.0, 2.5 / parameter.shape[-1] ** 0.5)
            else:
                gain = 1.6 if any(part in name for part in ("q_proj", "k_proj", "qkv_proj")) else 1.4
                normal(parameter, 0.0, gain / parameter.shape[-1] ** 0.5)


def stored_tensors(model, dtype):
    if model.config.model_type in MIXTURES:  # transformers 5 holds the experts together and saves them one by one
        with tempfile.TemporaryDirectory() as folder:
            model.to(dtype).save_pretrained(folder)
            return load_file(Path(folder) / "model.safetensors")
    tensors = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def save_weights(tensors, folder, shards):
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard * len(names) // shards:(shard + 1) * len(names) // shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def save_config(config, dtype, folder):
    values = config.to_diff_dict()
    values["torch_dtype"] = str(dtype).removeprefix("torch.")
    family = MIXTURES.get(config.model_type, config.model_type.capitalize())
    values["architectures"] = [f"{family}ForCausalLM"]
    if config.model_type == "qwen3_moe":  # transformers 5 writes num_local_experts, which transformers 4 does not know
        values["num_experts"] = values.pop("num_local_experts", config.num_experts)
    if getattr(config, "head_dim", None) is not None:
        values["head_dim"] = config.head_dim
    (folder / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def make_model(name, folder, seed):
    config, dtype, shards = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomize(model, seed)
    save_config(config, dtype, folder)
    save_weights(stored_tensors(model, dtype), folder, shards)


def routers(model):
    """Of each mixture of experts, by its name, what decides between them."""
    return {name: module for name, module in model.named_modules()
            if name.endswith(("mlp.gate", "block_sparse_moe.gate"))}


def router_logits(model, tokens):
    """Of each mixture, by the name of its router, [tokens, experts]."""
    logits = {}

    def keep(name):
        def hook(_, __, output):
            logits[name] = output[0] if isinstance(output, tuple) else output
        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in routers(model).items()]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return logits


def print_routing(model, tokens):
    """Tokens of each expert, and how far the last one chosen is ahead of the first one that is not."""
    for name, logits in router_logits(model, tokens).items():
        chosen = model.config.num_experts_per_tok
        if chosen >= logits.shape[-1]:
            continue
        best = logits.topk(chosen + 1).values
        counts = torch.bincount(logits.topk(chosen).indices.flatten(), minlength=logits.shape[1]).tolist()
        print(f"  {name}: tokens of its experts {counts}, least lead {(best[:, -2] - best[:, -1]).min():.1e}")


def golden_tokens(vocabulary, seed, length=LENGTH):
    return torch.randint(0, vocabulary, (SEQUENCES, length), generator=torch.Generator().manual_seed(seed))


def make_goldens(folder, output, seed, length=LENGTH):
    """Reads the model back as a user would, so that the goldens belong to what is on disk."""
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32,
                                                 attn_implementation="eager")
    model.eval()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the others know no float64
    tokens = golden_tokens(model.config.vocab_size, seed, length)
    positions = [position for position in POSITIONS if position < length]
    with torch.no_grad():
        result = model(tokens, output_attentions=True)
    logits = result.logits
    save_file({"tokens": tokens.to(torch.int32), "positions": torch.tensor(positions, dtype=torch.int32),
               "logits": logits[:, positions].contiguous()}, output)
    if model.config.model_type in MIXTURES:
        print_routing(model, tokens)
    # Uniform attention over 96 positions has a mean entropy of 3.6.
    entropy = [-(a * a.clamp_min(1e-30).log()).sum(-1).mean().item() for a in result.attentions]
    wide = model.double()
    with torch.no_grad():
        error = (wide(tokens).logits - logits).abs().max().item()
    print(f"{folder.name}: logits deviate by {logits.std():.2f}, largest {logits.abs().max():.1f}; "
          f"attention entropy {', '.join(f'{e:.2f}' for e in entropy)}; float32 error about {error:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder that gets models/ and forward/")
    parser.add_argument("--seed", type=int, default=20, help="seed of weights and tokens")
    parser.add_argument("--only", choices=MODELS, help="this model alone")
    parser.add_argument("--goldens-only", action="store_true", help="keep the models that are there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    (arguments.output / "forward").mkdir(parents=True, exist_ok=True)
    for at, name in enumerate(MODELS):
        i = NUMBERS.get(name, at)
        if arguments.only not in (None, name):
            continue
        folder = arguments.output / "models" / name
        if not arguments.goldens_only:
            make_model(name, folder, arguments.seed + i)
        make_goldens(folder, arguments.output / "forward" / f"{name}.safetensors", arguments.seed + 100 + i)
        if name in SHORT:
            make_goldens(folder, arguments.output / "forward" / f"{name}_short.safetensors",
                         arguments.seed + 200 + i, SHORT[name])


if __name__ == "__main__":
    main()
