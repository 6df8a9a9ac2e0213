# SPDX-License-Identifier: Apache-2.0
"""A Llama, Mistral, Mixtral, Qwen, SmolLM, Phi-3 or Gemma model whose layers differ in heads, KV heads, feed-forward
columns and experts.

Written for transformers from 4.45 on and PyTorch from 1.13 on; configuration_galapagos.py says what a layer looks like.
"""

import functools
import math
import re

import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_galapagos import GalapagosConfig, check_pruned_layers, groups_are_even

try:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
except ImportError:  # before 4.48
    ALL_ATTENTION_FUNCTIONS = None

TRANSFORMERS_VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])
# What is computed here; any other attention comes from ALL_ATTENTION_FUNCTIONS.
OWN_ATTENTION = ("eager", "sdpa")

# What transformers calls the KV cache in outputs: past_key_values up to 5.23, and cache since.
CACHE_NAME = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
# Further arguments may be ignored, as transformers does it; not what earlier tokens left behind, under whatever name.
NAME_OF_STATE = re.compile(r"cache|(^|_)(past|mems|memory|states?)(_|$)")
NO_STATE = ("cache_position",)  # the cache itself knows


def one_cache(past_key_values, cache):
    """The KV cache, whichever of its two names it was given under."""
    if past_key_values is not None and cache is not None and past_key_values is not cache:
        raise ValueError("past_key_values and cache are given and differ; they are two names of the same, give one")
    name, found = ("cache", cache) if past_key_values is None else ("past_key_values", past_key_values)
    if found is not None and not (hasattr(found, "update") and hasattr(found, "get_seq_length")):
        raise ValueError(f"{name} is a {type(found).__name__}; give a Cache, such as transformers.DynamicCache")
    return found


def is_of_an_engine(implementation):
    """Whether the attention is one that an engine put in, such as vLLM's, and reads what else that engine passes."""
    known = implementation in OWN_ATTENTION or any(word in implementation for word in ("attention", "paged", "/"))
    return not known


def refuse_state(arguments):
    """Raises ValueError if an argument that nobody reads carries state, which would silently be lost."""
    for name, value in arguments.items():
        if value is None or name in NO_STATE:
            continue
        if NAME_OF_STATE.search(name) or hasattr(value, "get_seq_length"):
            raise ValueError(f"{name} is an unknown argument that carries state; the KV cache is called "
                             f"past_key_values or cache")


def rotary_frequencies(config, rope, beyond=False):
    """The angle per position of each pair that turns of a head, in the order of the half-split layout.

    beyond: in texts longer than the model was first trained with, where that makes a difference.
    """
    kind, theta, factor = rope["rope_type"], rope["rope_theta"], rope.get("factor") or 1.0
    size = int(config.head_dim * rope.get("partial_rotary_factor", 1.0))
    frequencies = [theta ** (-2.0 * i / size) for i in range((size + 1) // 2)]
    if kind in ("default", "dynamic"):
        return frequencies
    if kind == "linear":
        return [frequency / factor for frequency in frequencies]
    if kind == "longrope":
        factors = rope["long_factor" if beyond else "short_factor"]
        return [frequency / own for frequency, own in zip(frequencies, factors)]

    # llama3, yarn: long wavelengths are stretched by `factor`, short ones stay, those between are blended.
    original = rope["original_max_position_embeddings"]

    def kept_by_llama3(i):
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        return (original * frequencies[i] / (2 * math.pi) - low) / (high - low)

    def pair_that_turns(times):
        return size * math.log(original / (times * 2 * math.pi)) / (2 * math.log(theta))

    def kept_by_yarn(i):
        low, high = pair_that_turns(rope.get("beta_fast") or 32), pair_that_turns(rope.get("beta_slow") or 1)
        if rope.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        return 1 - (i - low) / (high - low if high != low else 0.001)

    scaled = []
    for i, frequency in enumerate(frequencies):
        kept = min(max((kept_by_yarn if kind == "yarn" else kept_by_llama3)(i), 0.0), 1.0)
        scaled.append(frequency * (kept + (1 - kept) / factor))
    return scaled


def rotary_scale(rope):
    """What cosines and sines are multiplied by."""
    kind, factor = rope["rope_type"], rope.get("factor") or 1.0
    if kind not in ("yarn", "longrope"):
        return 1.0
    if rope.get("attention_factor") is not None:
        return rope["attention_factor"]
    if factor <= 1:
        return 1.0
    if kind == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(rope["original_max_position_embeddings"]))

    def growth(scale):
        return 0.1 * scale * math.log(factor) + 1.0

    scale, of_all = rope.get("mscale"), rope.get("mscale_all_dim")
    return growth(scale) / growth(of_all) if scale and of_all else growth(1)


class Rotary:
    """Cosines and sines of positions. Where the frequencies depend on the length, the longest text decides."""

    def __init__(self, config, rope):
        self.rope, self.scale = rope, rotary_scale(rope)
        self.size = int(config.head_dim * self.rope.get("partial_rotary_factor", 1.0))
        self.longest = config.max_position_embeddings
        self.plain = PerDevice(rotary_frequencies(config, rope), torch.float32)
        self.beyond = PerDevice(rotary_frequencies(config, rope, True), torch.float32)

    def frequencies(self, position_ids):
        plain = self.plain.on(position_ids.device)
        kind = self.rope["rope_type"]
        if kind not in ("longrope", "dynamic"):
            return plain
        length = position_ids.max() + 1
        if kind == "longrope":
            is_long = length > self.rope["original_max_position_embeddings"]
            return torch.where(is_long, self.beyond.on(position_ids.device), plain)
        factor, size = self.rope["factor"], self.size
        stretch = factor * length.clamp(min=self.longest) / self.longest - (factor - 1)
        base = self.rope["rope_theta"] * stretch ** (size / (size - 2))
        pairs = torch.arange(0, size, 2, device=position_ids.device, dtype=torch.float32)
        return torch.where(length > self.longest, base ** (-pairs / size), plain)

    def __call__(self, position_ids, dtype):
        angles = position_ids[:, None, :, None].to(torch.float32) * self.frequencies(position_ids)
        return (angles.cos() * self.scale).to(dtype), (angles.sin() * self.scale).to(dtype)


class PerDevice:
    """A constant, made on each device when first asked for.

    As a buffer it would be lost where the library builds the model without memory and fills in only what was saved.
    """

    def __init__(self, values, dtype):
        self.values, self.dtype, self.tensors = values, dtype, {}

    def on(self, device):
        if device not in self.tensors:
            self.tensors[device] = torch.tensor(self.values, dtype=self.dtype, device=device)
        return self.tensors[device]

    def __getstate__(self):
        return {"values": self.values, "dtype": self.dtype, "tensors": {}}


def rotate(x, cos, sin):
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


def visible_positions(padding, past, length, device, window):
    """Bool mask [1 or batch, 1, length, past + length], true where a query may look."""
    keys = torch.arange(past + length, device=device)
    queries = keys[past:, None]
    mask = keys <= queries
    if window:
        mask = mask & (keys > queries - window)
    mask = mask[None, None]
    if padding is not None:
        # A padded position that saw nothing would become NaN, and NaN spreads; so let it see itself.
        mask = (mask & padding[:, None, None, :].bool()) | (keys == queries)
    return mask


def soft_cap(values, cap):
    return values if cap is None else torch.tanh(values / cap) * cap


def eager_attention(query, key, value, mask, scaling, dropout, cap):
    scores = soft_cap(torch.matmul(query, key.transpose(2, 3)) * scaling, cap)
    if mask is not None:
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(F.dropout(weights, dropout), value), weights


class GalapagosRMSNorm(nn.Module):
    def __init__(self, config, size):
        super().__init__()
        self.shifted = config.has("gemma")
        self.weight = nn.Parameter(torch.zeros(size) if self.shifted else torch.ones(size))
        self.variance_epsilon = config.rms_norm_eps

    def forward(self, hidden_states):
        x = hidden_states.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        if self.shifted:
            return (x * (1 + self.weight.to(torch.float32))).to(hidden_states.dtype)
        return self.weight * x.to(hidden_states.dtype)


class GalapagosAttention(nn.Module):
    def __init__(self, config, layer_idx, cache_idx):
        super().__init__()
        layer = config.pruned_layers[layer_idx]
        self.config = config
        self.layer_idx = layer_idx
        # Counts only layers with attention: the library asks the first entry of a cache how long it is.
        self.cache_idx = cache_idx
        self.head_dim = config.head_dim
        scaled = config.has("scaled_scores")
        self.scaling = (256 if config.query_pre_attn_scalar is None else config.query_pre_attn_scalar)**-0.5 if scaled \
            else self.head_dim**-0.5
        self.cap = config.attn_logit_softcapping if config.has("capped_scores") else None
        self.window = config.window(layer_idx)
        self.attention_dropout = config.attention_dropout
        self.is_causal = True
        self.num_heads = len(layer["kv_of_head"])
        self.num_key_value_heads = layer["num_key_value_heads"]
        # Without heads, this stays an empty module that is never called: vLLM wants to find one in every layer.
        if self.num_heads == 0:
            return
        self.even = groups_are_even(layer)
        self.one_to_one = self.even and self.num_heads == self.num_key_value_heads
        self.num_key_value_groups = self.num_heads // self.num_key_value_heads if self.even else 1
        self.kv_of_head = PerDevice(list(layer["kv_of_head"]), torch.long)
        bias = config.has("qkv_bias")
        self.q_proj = nn.Linear(config.hidden_size, self.num_heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(self.num_heads * self.head_dim, config.hidden_size, bias=config.has("o_bias"))
        self.has_norms = config.has("qk_norm")
        if self.has_norms:
            self.q_norm = GalapagosRMSNorm(config, self.head_dim)
            self.k_norm = GalapagosRMSNorm(config, self.head_dim)

    def forward(self, hidden_states, cos, sin, attention_mask=None, past_key_values=None, past_length=0,
                output_attentions=False, query_scale=None, **kwargs):
        query = self.q_proj(hidden_states)
        key = self.k_proj(hidden_states)
        value = self.v_proj(hidden_states)
        batch, length = hidden_states.shape[0], hidden_states.shape[1]
        query = query.view(batch, length, -1, self.head_dim).transpose(1, 2)
        key = key.view(batch, length, -1, self.head_dim).transpose(1, 2)
        if self.has_norms:
            query, key = self.q_norm(query), self.k_norm(key)
        value = value.view(batch, length, -1, self.head_dim).transpose(1, 2)
        if cos is not None:
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if query_scale is not None:
            query = query * query_scale

        if past_key_values is not None:
            total = past_length + length
            positions = torch.arange(past_length, total, device=key.device)
            key, value = past_key_values.update(key, value, self.cache_idx, {"cache_position": positions})
            # A cache of fixed size returns its unused end too; only a mask made for that cache covers it.
            seen = total if attention_mask is None else attention_mask.shape[-1]
            key, value = key[:, :, :seen], value[:, :, :seen]

        implementation = self.config._attn_implementation
        own = implementation in OWN_ATTENTION or output_attentions
        # Other engines know about groups, but only about even ones.
        if not self.one_to_one and (own or not self.even):
            heads = self.kv_of_head.on(key.device)
            key, value = key.index_select(1, heads), value.index_select(1, heads)

        dropout = self.attention_dropout if self.training else 0.0
        weights = None
        if not own:
            attend = ALL_ATTENTION_FUNCTIONS[implementation]
            if self.window:
                kwargs["sliding_window"] = self.window
            if self.cap is not None:
                kwargs["softcap"] = self.cap
            output, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling,
                                     **kwargs)
        else:
            if implementation == "sdpa" and not output_attentions and self.cap is None:
                causal = True if attention_mask is None and length > 1 else False  # a bool also in torch.compile
                if self.scaling != self.head_dim**-0.5:  # PyTorch knows another scale from 2.1 on only
                    query = query * (self.scaling * self.head_dim**0.5)
                output = F.scaled_dot_product_attention(
                    query, key, value, attn_mask=attention_mask, dropout_p=dropout, is_causal=causal)
            else:
                output, weights = eager_attention(query, key, value, attention_mask, self.scaling, dropout, self.cap)
            output = output.transpose(1, 2)
        return self.o_proj(output.reshape(batch, length, -1)), weights


class GalapagosMLP(nn.Module):
    def __init__(self, config, columns):
        super().__init__()
        bias = config.has("mlp_bias")
        self.gate_proj = nn.Linear(config.hidden_size, columns, bias=bias)
        self.up_proj = nn.Linear(config.hidden_size, columns, bias=bias)
        self.down_proj = nn.Linear(columns, config.hidden_size, bias=bias)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class GalapagosMixture(nn.Module):
    """A router and the experts that are left, which differ in columns."""

    def __init__(self, config, columns):
        super().__init__()
        self.chosen = min(config.num_experts_per_tok, len(columns))
        self.shares_add_up = config.shares_add_up()
        # As in transformers, where Mixtral's shares stay float32.
        self.wide_shares = config.base_model_type == "mixtral"
        self.gate = nn.Linear(config.hidden_size, len(columns), bias=False)
        self.experts = nn.ModuleList(GalapagosMLP(config, own) for own in columns)

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        shares = F.softmax(self.gate(tokens), dim=-1, dtype=torch.float32)
        # Of equal shares the lower index wins, which topk does not promise.
        shares, experts = shares.sort(dim=-1, descending=True, stable=True)
        shares, experts = shares[:, :self.chosen], experts[:, :self.chosen]
        if self.shares_add_up:
            shares = shares / shares.sum(dim=-1, keepdim=True)
        if not self.wide_shares:
            shares = shares.to(tokens.dtype)
        # In training all experts run, also those without tokens, so that every parameter has a gradient.
        used = range(len(self.experts)) if torch.is_grad_enabled() else experts.unique().tolist()
        result = torch.zeros_like(tokens)
        for i in used:
            at, place = torch.where(experts == i)
            change = self.experts[i](tokens[at]) * shares[at, place, None]
            result.index_add_(0, at, change.to(result.dtype))
        return result.reshape(x.shape)


class GalapagosDecoderLayer(nn.Module):
    def __init__(self, config, layer_idx, cache_idx):
        super().__init__()
        layer = config.pruned_layers[layer_idx]
        self.has_attention = len(layer["kv_of_head"]) > 0
        self.has_mlp = layer["intermediate_size"] > 0
        self.self_attn = GalapagosAttention(config, layer_idx, cache_idx)
        self.post_norms = config.has("post_norms")
        self.window, self.rope = config.window(layer_idx), config.rope(layer_idx)
        if self.has_attention:
            self.input_layernorm = GalapagosRMSNorm(config, config.hidden_size)
        if self.has_mlp:
            if layer.get("experts"):
                self.mlp = GalapagosMixture(config, layer["experts"])
            else:
                self.mlp = GalapagosMLP(config, layer["intermediate_size"])
            if self.post_norms:
                self.pre_feedforward_layernorm = GalapagosRMSNorm(config, config.hidden_size)
                self.post_feedforward_layernorm = GalapagosRMSNorm(config, config.hidden_size)
            else:
                self.post_attention_layernorm = GalapagosRMSNorm(config, config.hidden_size)
        if self.has_attention and self.post_norms:
            self.post_attention_layernorm = GalapagosRMSNorm(config, config.hidden_size)

    def forward(self, hidden_states, turns, masks, **kwargs):
        weights = None
        if self.has_attention:
            cos, sin = turns[self.rope]
            change, weights = self.self_attn(self.input_layernorm(hidden_states), cos, sin,
                                             attention_mask=masks[self.window], **kwargs)
            hidden_states = hidden_states + (self.post_attention_layernorm(change) if self.post_norms else change)
        if self.has_mlp and self.post_norms:
            change = self.mlp(self.pre_feedforward_layernorm(hidden_states))
            hidden_states = hidden_states + self.post_feedforward_layernorm(change)
        elif self.has_mlp:
            hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states, weights


class GalapagosPreTrainedModel(PreTrainedModel):
    config_class = GalapagosConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["GalapagosDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values", "cache"]
    _supports_sdpa = True
    _supports_cache_class = True
    # Static caches before that take their sizes from the global values of the configuration.
    _supports_static_cache = TRANSFORMERS_VERSION >= (4, 57)
    _supports_attention_backend = ALL_ATTENTION_FUNCTIONS is not None
    _supports_flash_attn = ALL_ATTENTION_FUNCTIONS is not None
    _supports_flash_attn_2 = ALL_ATTENTION_FUNCTIONS is not None

    def _init_weights(self, module):
        # The functions of nn.init, because transformers 5 makes those leave alone what was loaded.
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, GalapagosRMSNorm):
            (nn.init.zeros_ if module.shifted else nn.init.ones_)(module.weight)


class GalapagosModel(GalapagosPreTrainedModel):
    def __init__(self, config):
        check_pruned_layers(config.pruned_layers, config.num_hidden_layers, config.unpruned_experts())
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        layers, attentions = [], 0
        for i in range(config.num_hidden_layers):
            layers.append(GalapagosDecoderLayer(config, i, attentions))
            attentions += layers[-1].has_attention
        self.layers = nn.ModuleList(layers)
        self.norm = GalapagosRMSNorm(config, config.hidden_size)
        self.attentions = attentions
        # PyTorch's own attention knows no cap, and a mask is needed in its place.
        self.capped = config.has("capped_scores") and config.attn_logit_softcapping is not None
        self.rotary = Rotary(config, config.rope_parameters)
        self.local_rotary = Rotary(config, config.local_rope_parameters)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def _query_scale(self, position_ids, dtype):
        """Ministral 3's factor on queries beyond the positions that the model was first trained with."""
        rope = self.config.rope_parameters
        if self.config.base_model_type != "ministral3" or rope.get("llama_4_scaling_beta") is None:
            return None
        turns = torch.floor(position_ids / rope["original_max_position_embeddings"])
        return (1 + rope["llama_4_scaling_beta"] * torch.log(1 + turns))[:, None, :, None].to(dtype)

    def _attention_mask(self, mask, past, length, device, output_attentions, window):
        """What the attention of layers with this window takes: None wherever that is enough, since it is faster."""
        window = window if window < past + length else 0
        if mask is not None and mask.dim() == 4 and window and self.attentions:
            keys = torch.arange(mask.shape[-1], device=device)
            seen = keys > (torch.arange(past, past + length, device=device)[:, None] - window)
            return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, torch.finfo(mask.dtype).min)
        if self.attentions == 0 or (mask is not None and mask.dim() == 4):
            return mask
        if mask is not None:
            if mask.shape[-1] < past + length:
                raise ValueError(f"attention_mask covers {mask.shape[-1]} positions, but there are {past + length}")
            mask = mask[:, :past + length]
            if bool((mask != 0).all()):
                mask = None
        implementation = self.config._attn_implementation
        if implementation not in OWN_ATTENTION and not output_attentions:
            return mask
        if mask is None and not window and (length == 1 or (past == 0 and implementation == "sdpa" and not output_attentions
                                                            and not self.capped)):
            return None
        return visible_positions(mask, past, length, device, window)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, use_cache=None, output_attentions=None, output_hidden_states=None,
                return_dict=None, cache=None, **kwargs):
        config = self.config
        past_key_values = one_cache(past_key_values, cache)
        if not is_of_an_engine(config._attn_implementation):
            refuse_state(kwargs)
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return_dict = config.return_dict if return_dict is None else return_dict
        use_cache = config.use_cache if use_cache is None else use_cache
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        checkpointing = self.gradient_checkpointing and self.training
        if checkpointing:
            use_cache = False
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()

        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
            if config.has("gemma"):
                # In the embedding's type: the root of 3072 is 55.5 in bfloat16.
                inputs_embeds = inputs_embeds * torch.tensor(config.hidden_size**0.5, dtype=inputs_embeds.dtype)
        hidden_states = inputs_embeds
        device, length = hidden_states.device, hidden_states.shape[1]
        past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        # A cache made for all layers has entries that stay empty, which not every method of every cache can bear.
        if past == 0 and isinstance(getattr(past_key_values, "layers", None), list):
            del past_key_values.layers[self.attentions:]
        if position_ids is None:
            position_ids = torch.arange(past, past + length, device=device)[None]
        turns = {"none": (None, None), "usual": self.rotary(position_ids, hidden_states.dtype),
                 "local": self.local_rotary(position_ids, hidden_states.dtype)}
        kwargs.pop("cache_position", None)
        masks = {window: self._attention_mask(attention_mask, past, length, device, output_attentions, window)
                 for window in {layer.window for layer in self.layers}}
        kwargs.update(
            past_key_values=past_key_values, past_length=past, output_attentions=output_attentions,
            query_scale=self._query_scale(position_ids, hidden_states.dtype))

        all_states, all_weights = [], []
        # An early exit of assisted decoding makes the number smaller for a while.
        for layer in self.layers[:config.num_hidden_layers]:
            if output_hidden_states:
                all_states.append(hidden_states)
            if checkpointing:
                # Checkpointing takes no keyword arguments in its reentrant form.
                hidden_states, weights = self._gradient_checkpointing_func(
                    functools.partial(layer.__call__, **kwargs), hidden_states, turns, masks)
            else:
                hidden_states, weights = layer(hidden_states, turns, masks, **kwargs)
            all_weights.append(weights)
        hidden_states = self.norm(hidden_states)

        output = BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            hidden_states=(*all_states, hidden_states) if output_hidden_states else None,
            attentions=tuple(all_weights) if output_attentions else None,
            **{CACHE_NAME: past_key_values if use_cache else None})
        return output if return_dict else output.to_tuple()


class GalapagosForCausalLM(GalapagosPreTrainedModel, GenerationMixin):
    _tied_weights_keys = (
        {"lm_head.weight": "model.embed_tokens.weight"} if TRANSFORMERS_VERSION >= (5, 0) else ["lm_head.weight"]
    )

    def __init__(self, config):
        super().__init__(config)
        self.model = GalapagosModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def get_decoder(self):
        return self.model

    def set_decoder(self, value):
        self.model = value

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, labels=None, use_cache=None, output_attentions=None, output_hidden_states=None,
                return_dict=None, logits_to_keep=0, num_logits_to_keep=0, num_items_in_batch=None, cache=None,
                **kwargs):
        return_dict = self.config.return_dict if return_dict is None else return_dict
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=one_cache(past_key_values, cache), inputs_embeds=inputs_embeds, use_cache=use_cache,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states, return_dict=True, **kwargs)
        hidden_states = output.last_hidden_state
        keep = num_logits_to_keep or logits_to_keep  # its name up to 4.49, and since
        if isinstance(keep, int):
            keep = slice(-keep, None) if keep else slice(None)
        cap = self.config.final_logit_softcapping if self.config.has("post_norms") else None
        logits = soft_cap(self.lm_head(hidden_states[:, keep]), cap)

        loss = None
        if labels is not None:
            predictions = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
            targets = labels[:, 1:].reshape(-1).to(logits.device)
            # A trainer that accumulates gradients says how many targets the whole batch has.
            if num_items_in_batch is None:
                loss = F.cross_entropy(predictions, targets)
            else:
                loss = F.cross_entropy(predictions, targets, reduction="sum") / num_items_in_batch

        result = CausalLMOutputWithPast(
            loss=loss, logits=logits, hidden_states=output.hidden_states, attentions=output.attentions,
            **{CACHE_NAME: output[CACHE_NAME] if CACHE_NAME in output else None})
        return result if return_dict else result.to_tuple()

    def _get_static_cache_init_shape(self):
        return None  # a static cache takes its sizes from what it is first given, not from the configuration

    if TRANSFORMERS_VERSION < (4, 46):  # later ones have a general form of this

        def prepare_inputs_for_generation(self, input_ids, past_key_values=None, attention_mask=None,
                                          inputs_embeds=None, position_ids=None, cache_position=None, **kwargs):
            refuse_state({key: value for key, value in kwargs.items() if key != "use_cache"})
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            inputs = {"past_key_values": past_key_values, "attention_mask": attention_mask}
            if inputs_embeds is not None and (cache_position is None or cache_position[0] == 0):
                inputs["inputs_embeds"] = inputs_embeds
                new = inputs_embeds.shape[1]
            else:
                new = (input_ids if attention_mask is None else attention_mask).shape[1] - past
                inputs["input_ids"] = input_ids[:, -new:]
            if position_ids is None and attention_mask is not None:
                position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
            if position_ids is not None:
                inputs["position_ids"] = position_ids[:, -new:]
            for key in ("use_cache", "num_logits_to_keep"):
                if key in kwargs:
                    inputs[key] = kwargs[key]
            return inputs


# Saving a model saves these two files with it.
GalapagosConfig.register_for_auto_class()
GalapagosModel.register_for_auto_class("AutoModel")
GalapagosForCausalLM.register_for_auto_class("AutoModelForCausalLM")
