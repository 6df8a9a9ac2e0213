# SPDX-License-Identifier: Apache-2.0
"""Configuration of a model whose layers differ in attention heads, KV heads and feed-forward columns.

It is the configuration of the unpruned model of one of the FEATURES' families (all global values are that model's) and:

base_model_type  the family; FEATURES says in what they differ.
layer_windows    of each layer, how many positions a position sees, itself included; 0: all before it. Without the
                 list all layers see everything.
layer_ropes      of each layer, "usual", "local" (rope_parameters' sliding_attention) or "none". Without the list all are
                 usual.
pruned_layers    what each layer still has, a list of objects:
                   kv_of_head           for each query head, the KV head it attends with; empty: no attention
                   num_key_value_heads  KV heads
                   intermediate_size    feed-forward columns; 0: no feed-forward
                   experts              only where the layer is a mixture of experts: the columns of each expert that is
                                        left, whose sum is intermediate_size. A token goes to num_experts_per_tok of
                                        them, or to all if there are fewer.
                 A layer without attention has no input_layernorm, one without feed-forward no
                 post_attention_layernorm.
"""

import transformers
from transformers import PretrainedConfig

# qkv_bias: q, k and v have biases. o_bias, mlp_bias: biases on the output of attention, and on gate, up and down. qk_norm:
# every head of q and k is normed before the rotation. gemma: norms multiply by 1 + weight, gates go through gelu, the
# embedding is multiplied by the root of the hidden size. post_norms: what attention and feed-forward put out is normed
# before it is added, the feed-forward's first norm is pre_feedforward_layernorm, and logits may have a soft cap.
# scaled_scores: query_pre_attn_scalar stands for head_dim in the scores' scale. capped_scores: scores have a soft cap.
FEATURES = {
    "llama": (), "mistral": (), "ministral": (), "ministral3": (), "phi3": (), "smollm3": (),
    "qwen2": ("qkv_bias",), "qwen3": ("qk_norm",), "qwen3_moe": ("qk_norm",), "mixtral": (),
    "gemma": ("gemma",),
    "gemma2": ("gemma", "post_norms", "scaled_scores", "capped_scores"),
    "gemma3_text": ("gemma", "post_norms", "scaled_scores", "qk_norm"),
}
# What keys of the configuration add; in other families they mean nothing.
_ATTENTION_BIAS = {"attention_bias": ("qkv_bias", "o_bias")}
FEATURES_BY_KEY = {
    "llama": {**_ATTENTION_BIAS, "mlp_bias": ("mlp_bias",)},
    "smollm3": {**_ATTENTION_BIAS, "mlp_bias": ("mlp_bias",)},
    "qwen3": _ATTENTION_BIAS, "qwen3_moe": _ATTENTION_BIAS,
    "gemma": _ATTENTION_BIAS, "gemma2": _ATTENTION_BIAS, "gemma3_text": _ATTENTION_BIAS,
}
# Families whose layers may be mixtures of experts: the key that says how many experts the unpruned model has (transformers 5
# has either name for both), that number where no key says it, and likewise num_experts_per_tok.
MIXTURES = {"qwen3_moe": ("num_experts", 128, 8), "mixtral": ("num_local_experts", 8, 2)}
# Families in which partial_rotary_factor says how much of a head turns.
PARTIAL_ROTARY = ("phi3",)
# rope_theta where nothing says it; elsewhere 10000.
THETAS = {"smollm3": 2000000.0, "gemma3_text": 1000000.0, "mixtral": 1000000.0}
# Kinds of rope scaling, and what each has to say.
ROPE_KEYS = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
ROPES = ("usual", "local", "none")

TRANSFORMERS_MAJOR = int(transformers.__version__.split(".")[0])


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_experts(i, layer, num_experts):
    """Raises ValueError unless the experts of layer i are sound; num_experts: how many there were, 0 without mixtures."""
    experts = layer["experts"]
    if not num_experts:
        raise ValueError(f"config: pruned_layers[{i}] has experts, but base_model_type is none of {', '.join(MIXTURES)}")
    if not isinstance(experts, (list, tuple)):
        raise ValueError(f"config: pruned_layers[{i}].experts is not a list")
    for expert, columns in enumerate(experts):
        if not _count(columns) or columns == 0:
            raise ValueError(f"config: pruned_layers[{i}].experts[{expert}] is {columns!r}, not a number from 1 up")
    if sum(experts) != layer["intermediate_size"]:
        raise ValueError(f"config: pruned_layers[{i}].experts have {sum(experts)} columns together, but intermediate_size "
                         f"is {layer['intermediate_size']}")
    if len(experts) > num_experts:
        raise ValueError(f"config: pruned_layers[{i}] has {len(experts)} experts, but unpruned there are {num_experts}")


def check_pruned_layers(pruned_layers, num_hidden_layers, num_experts=0):
    """Raises ValueError unless pruned_layers describes num_hidden_layers layers, in mixtures of up to num_experts."""
    if not isinstance(pruned_layers, (list, tuple)):
        raise ValueError("config: pruned_layers is missing or not a list, so the sizes of the layers are unknown")
    if len(pruned_layers) != num_hidden_layers:
        raise ValueError(
            f"config: pruned_layers has {len(pruned_layers)} entries, but num_hidden_layers is {num_hidden_layers}"
        )
    for i, layer in enumerate(pruned_layers):
        for key in ("kv_of_head", "num_key_value_heads", "intermediate_size"):
            if not isinstance(layer, dict) or key not in layer:
                raise ValueError(f"config: pruned_layers[{i}] has no {key}")
        for key in ("num_key_value_heads", "intermediate_size"):
            if not _count(layer[key]):
                raise ValueError(f"config: pruned_layers[{i}].{key} is {layer[key]!r}, not a number from 0 up")
        if "experts" in layer:
            check_experts(i, layer, num_experts)
        kv_heads, kv_of_head = layer["num_key_value_heads"], layer["kv_of_head"]
        if not isinstance(kv_of_head, (list, tuple)):
            raise ValueError(f"config: pruned_layers[{i}].kv_of_head is not a list")
        for head, kv_head in enumerate(kv_of_head):
            if not _count(kv_head) or kv_head >= kv_heads:
                raise ValueError(
                    f"config: pruned_layers[{i}].kv_of_head[{head}] is {kv_head!r}, but there are {kv_heads} KV heads"
                )
        if not kv_of_head and kv_heads:
            raise ValueError(f"config: pruned_layers[{i}] has {kv_heads} KV heads, but no query head (kv_of_head)")


def check_per_layer(name, values, num_hidden_layers, sound):
    """Raises ValueError unless values is None or has a sound value for each layer."""
    if values is None:
        return
    if not isinstance(values, (list, tuple)) or len(values) != num_hidden_layers or not all(map(sound, values)):
        raise ValueError(f"config: {name} is {values!r}, not a list of {num_hidden_layers} sound values")


def groups_are_even(layer):
    """Whether every KV head has the same number of query heads, one after the other."""
    heads, kv_heads = len(layer["kv_of_head"]), layer["num_key_value_heads"]
    if kv_heads == 0 or heads % kv_heads:
        return False
    return list(layer["kv_of_head"]) == [head // (heads // kv_heads) for head in range(heads)]


def _read_rope(family, theta, scaling, parameters, partial, original, max_positions):
    """One dictionary out of transformers 4's rope_theta and rope_scaling and transformers 5's rope_parameters.

    Where they contradict each other, rope_scaling counts, as in transformers 5.
    """
    rope = dict(scaling or parameters or {})
    rope_type = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    rope.pop("type", None)
    if family == "phi3" and rope_type in ("su", "yarn"):  # old names
        rope_type = "longrope"
    rope["rope_type"] = rope_type
    rope["rope_theta"] = rope.get("rope_theta") or theta or THETAS.get(family, 10000.0)
    if rope_type not in ROPE_KEYS:
        raise ValueError(f"config: rope scaling of type {rope_type!r} is not supported, only {', '.join(ROPE_KEYS)}")
    share = rope.pop("partial_rotary_factor", None) or partial or 1.0
    if family in PARTIAL_ROTARY and share != 1.0:
        rope["partial_rotary_factor"] = share
    if rope_type in ("llama3", "yarn", "longrope"):
        if original is None and family == "phi3":
            original = 4096
        inside = rope.get("original_max_position_embeddings")
        rope["original_max_position_embeddings"] = original or inside or max_positions
    if rope_type in ("yarn", "longrope") and rope.get("factor") is None:
        rope["factor"] = max_positions / rope["original_max_position_embeddings"]
    for key in ROPE_KEYS[rope_type]:
        if key not in rope:
            raise ValueError(f"config: rope scaling of type {rope_type!r} needs {key}")
    return rope


class GalapagosConfig(PretrainedConfig):
    model_type = "galapagos"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]

    def __init__(
        self,
        base_model_type="llama",
        pruned_layers=None,
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=None,
        head_dim=None,
        hidden_act=None,
        hidden_activation=None,
        max_position_embeddings=2048,
        initializer_range=0.02,
        rms_norm_eps=1e-6,
        use_cache=True,
        attention_bias=False,
        attention_dropout=0.0,
        mlp_bias=False,
        rope_theta=None,
        rope_scaling=None,
        rope_parameters=None,
        rope_local_base_freq=None,
        layer_windows=None,
        layer_ropes=None,
        query_pre_attn_scalar=None,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        partial_rotary_factor=None,
        original_max_position_embeddings=None,
        num_experts=None,
        num_local_experts=None,
        num_experts_per_tok=None,
        norm_topk_prob=None,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
        **kwargs,
    ):
        if base_model_type not in FEATURES:
            raise ValueError(f"config: base_model_type {base_model_type!r} is none of {', '.join(FEATURES)}")
        gemma = "gemma" in FEATURES[base_model_type]
        hidden_act = (hidden_activation or hidden_act) if gemma else hidden_act
        # Gemma's first release wrote "gelu" and meant its approximation.
        if hidden_act not in ((None, "gelu_pytorch_tanh", "gelu") if gemma else (None, "silu", "swish")):
            raise ValueError(f"config: hidden_act {hidden_act!r} is not supported for {base_model_type}")
        hidden_act = "gelu_pytorch_tanh" if gemma else "silu"
        self.base_model_type = base_model_type
        if base_model_type in MIXTURES:
            key, experts, chosen = MIXTURES[base_model_type]
            given = (num_experts, num_local_experts) if key == "num_experts" else (num_local_experts, num_experts)
            setattr(self, key, next((value for value in given if value is not None), experts))
            self.num_experts_per_tok = chosen if num_experts_per_tok is None else num_experts_per_tok
            if base_model_type == "qwen3_moe":
                self.norm_topk_prob = bool(norm_topk_prob)
            for name in (key, "num_experts_per_tok"):
                if not _count(getattr(self, name)) or getattr(self, name) == 0:
                    raise ValueError(f"config: {name} is {getattr(self, name)!r}, not a number from 1 up")
        # The library makes one without arguments to learn the defaults; the model insists on having pruned_layers.
        if pruned_layers is not None:
            check_pruned_layers(pruned_layers, num_hidden_layers, self.unpruned_experts())
        check_per_layer("layer_windows", layer_windows, num_hidden_layers, _count)
        check_per_layer("layer_ropes", layer_ropes, num_hidden_layers, lambda rope: rope in ROPES)

        self.pruned_layers = pruned_layers
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_attention_heads if num_key_value_heads is None else num_key_value_heads
        self.head_dim = hidden_size // num_attention_heads if head_dim is None else head_dim
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.use_cache = use_cache
        self.attention_bias = attention_bias
        self.attention_dropout = attention_dropout
        self.mlp_bias = mlp_bias
        self.layer_windows = layer_windows
        self.layer_ropes = layer_ropes
        self.query_pre_attn_scalar = query_pre_attn_scalar
        self.attn_logit_softcapping = attn_logit_softcapping
        self.final_logit_softcapping = final_logit_softcapping
        # Caches keep all positions, whatever the windows; by these names they would look for sliding ones.
        self.sliding_window = None
        for key in ("sliding_window", "layer_types"):
            kwargs.pop(key, None)

        if base_model_type == "phi3":
            self.original_max_position_embeddings = original_max_position_embeddings or 4096
        local = {"rope_theta": rope_local_base_freq or 10000.0}
        if isinstance(rope_parameters, dict) and "full_attention" in rope_parameters:  # by kinds of layers
            local.update(rope_parameters.get("sliding_attention") or {})
            rope_parameters = rope_parameters["full_attention"]
        limits = partial_rotary_factor, original_max_position_embeddings, max_position_embeddings
        self.local_rope_parameters = _read_rope(
            base_model_type, None, None, kwargs.pop("local_rope_parameters", None) or local, *limits)
        self.rope_parameters = _read_rope(base_model_type, rope_theta, rope_scaling, rope_parameters, *limits)
        if TRANSFORMERS_MAJOR < 5:  # later ones derive these from rope_parameters or do without
            self.rope_theta = self.rope_parameters["rope_theta"]
            scaling = {key: value for key, value in self.rope_parameters.items() if key != "rope_theta"}
            self.rope_scaling = scaling if scaling["rope_type"] != "default" else None

        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.tie_word_embeddings = tie_word_embeddings
        for key in self._derived:
            kwargs.pop(key, None)
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )
        self._describe_layers()

    def window(self, layer):
        return self.layer_windows[layer] if self.layer_windows else 0

    def rope(self, layer):
        return self.layer_ropes[layer] if self.layer_ropes else "usual"

    def unpruned_experts(self):
        """How many experts a mixture of the unpruned model has; 0 in a family without mixtures."""
        return getattr(self, MIXTURES[self.base_model_type][0]) if self.base_model_type in MIXTURES else 0

    def shares_add_up(self):
        """Whether what a token gets of its experts is divided by its sum."""
        return self.base_model_type == "mixtral" or self.norm_topk_prob

    def has(self, feature):
        by_key = FEATURES_BY_KEY.get(self.base_model_type, {})
        return feature in FEATURES[self.base_model_type] or any(
            feature in features and getattr(self, key) for key, features in by_key.items())

    # Set by _describe_layers and never saved: pruned_layers says the same.
    _derived = ("per_layer_config", "allow_global_per_layer_attribute_access")

    def _describe_layers(self):
        """Tells engines that ask the configuration, not the model, how large a layer's KV cache is.

        transformers has had a place for it since 5.15: per_layer_config. Global values stay readable, since much code
        reads them just to have some value.
        """
        if self.pruned_layers is None or not hasattr(type(self), "per_layer_config"):
            return
        self.allow_global_per_layer_attribute_access = True
        overrides = {}
        for i, layer in enumerate(self.pruned_layers):
            skip, sizes = [], {}
            if layer["kv_of_head"]:
                heads = len(layer["kv_of_head"])
                sizes["num_attention_heads"] = heads
                # Uneven groups reach other engines' attention with one KV head for each query head.
                sizes["num_key_value_heads"] = layer["num_key_value_heads"] if groups_are_even(layer) else heads
            else:
                skip.append("attention")
            if layer["intermediate_size"]:
                sizes["intermediate_size"] = layer["intermediate_size"]
                if layer.get("experts"):
                    sizes[MIXTURES[self.base_model_type][0]] = len(layer["experts"])
            else:
                skip.append("mlp")
            overrides[i] = {"skip": skip, **sizes} if skip else sizes
        self.per_layer_config = overrides

    def _saved(self, values):
        return {key: value for key, value in values.items() if key not in self._derived}

    def to_dict(self):
        return self._saved(super().to_dict())

    def to_diff_dict(self):
        return self._saved(super().to_diff_dict())
