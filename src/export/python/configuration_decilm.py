# SPDX-License-Identifier: Apache-2.0
"""Configuration of a DeciLM (Nemotron-NAS) model, for engines that compute such models themselves.

block_configs    what each layer has, a list of objects:
                   attention.n_heads_in_group  query heads of a KV head; all layers have num_attention_heads of them
                   attention.no_op             whether there is no attention
                   ffn.ffn_mult                2/3 of it times hidden_size, in whole multiples of 256: the columns
                   ffn.no_op                   whether there is no feed-forward part
"""

from transformers import PretrainedConfig


class Block(dict):
    """An object of the configuration, whose members engines read as attributes and transformers as a dictionary."""

    def __init__(self, values=()):
        super().__init__({key: Block(value) if isinstance(value, dict) else value for key, value in dict(values).items()})

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"block_configs has no {name}") from None


class DeciLMConfig(PretrainedConfig):
    model_type = "nemotron-nas"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(self, block_configs=None, vocab_size=32000, hidden_size=4096, num_hidden_layers=32,
                 num_attention_heads=32, head_dim=None, hidden_act="silu", max_position_embeddings=2048,
                 rms_norm_eps=1e-6, rope_theta=10000.0, rope_scaling=None, attention_bias=False, mlp_bias=False,
                 qkv_bias=False, tie_word_embeddings=False, **kwargs):
        self.block_configs = None if block_configs is None else [Block(block) for block in block_configs]
        if self.block_configs is not None and len(self.block_configs) != num_hidden_layers:
            raise ValueError(
                f"config: block_configs has {len(self.block_configs)} entries, but num_hidden_layers is {num_hidden_layers}"
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.rope_scaling = rope_scaling
        self.attention_bias = attention_bias
        self.mlp_bias = mlp_bias
        self.qkv_bias = qkv_bias
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
