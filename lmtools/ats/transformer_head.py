"""The head that sees the tokens before: a Llama decoder layer over the features, and a linear function.

With features X (rows, tokens, hidden), the layer is pre-norm with causal attention, RoPE at base 10000 and
SwiGLU; its sizes are the base model's. Keys and values are needed of every token, all else only where a
multiplier is wanted: in training at the answers' tokens, in generation at the last one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRotaryEmbedding,
    eager_attention_forward,
    rotate_half,
)

from lmtools.ats.head_config import BaseShape, HeadConfig
from lmtools.ats.temperature_head import SPREAD, TemperatureHead, zero_output

ROPE_BASE = 10000.0


@dataclass(frozen=True)
class Context:
    """What new tokens see beside themselves, in transformers' forms.

    ``mask`` is what attention ``implementation`` takes, for all new tokens: (rows, 1, new, seen) or None;
    ``positions`` are the new tokens', (rows or 1, new). ``cache`` holds the tokens before and takes the new.
    """

    mask: Tensor | None
    positions: Tensor
    cache: Cache | None
    implementation: str


class TransformerHead(TemperatureHead):
    """``output(layer(projection x))``; the projection is there only if features have another width."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        width = shape.width(config.features)
        self.projection = nn.Linear(width, shape.hidden, bias=False) if width != shape.hidden else None
        self.layer = LlamaDecoderLayer(layer_config(shape), layer_idx=shape.layers)
        self.rotary = LlamaRotaryEmbedding(self.layer.self_attn.config)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=SPREAD)
        self.output = zero_output(shape.hidden)

    def place(self, layer_index: int) -> None:
        """Where in a cache the layer's keys and values go."""
        self.layer.self_attn.layer_idx = layer_index

    def forward(self, features: Tensor, valid: Tensor | None = None, wanted: Tensor | None = None) -> Tensor:
        """See ``TemperatureHead``."""
        every = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        valid, asked = every if valid is None else valid, every if wanted is None else wanted
        if not asked.any():
            return features.new_zeros(0, dtype=torch.float32)
        states = self._inputs(features)
        normed = self.layer.input_layernorm(states)
        cos, sin = self.rotary(states, (valid.long().cumsum(dim=1) - 1).clamp(min=0))
        keys, values = self._keys_values(normed, cos, sin)
        # Each row's queries side by side, for they are of different numbers.
        row, token = asked.nonzero(as_tuple=True)
        slot = (asked.long().cumsum(dim=1) - 1)[asked]
        flat = self._queries(normed[asked], cos[asked], sin[asked])
        queries = flat.new_zeros(len(asked), int(slot.max()) + 1, *flat.shape[1:])
        queries[row, slot] = flat
        query_token = torch.zeros(queries.shape[:2], dtype=torch.long, device=row.device)
        query_token[row, slot] = token
        attention = self.layer.self_attn
        mask = _causal(valid, query_token)
        mixed, _ = sdpa_attention_forward(
            attention, queries.transpose(1, 2), keys, values, mask, scaling=attention.scaling, is_causal=False
        )
        found = self.clipped(self._rest(states[asked], mixed[row, slot].flatten(1)))
        return found if wanted is not None else found.view(asked.shape)

    def step(self, features: Tensor, kept: slice | Tensor, context: Context) -> Tensor:
        """Log multipliers of some of the new tokens; keys and values of all of them go to the cache.

        Args:
            features: (rows, new, features), of every new token.
            kept: which of the new tokens, as an index into their dimension.
            context: the tokens before, and who may see whom.

        Returns:
            (rows, kept), float32, within the clip.
        """
        states = self._inputs(features)
        normed = self.layer.input_layernorm(states)
        cos, sin = self.rotary(states, context.positions)
        keys, values = self._keys_values(normed, cos, sin)
        attention = self.layer.self_attn
        if context.cache is not None:
            keys, values = context.cache.update(keys, values, attention.layer_idx)
        queries = self._queries(normed[:, kept], cos[:, kept], sin[:, kept]).transpose(1, 2)
        mask = None if context.mask is None else context.mask[:, :, kept]
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(context.implementation, eager_attention_forward)
        mixed, _ = attend(attention, queries, keys, values, mask, scaling=attention.scaling)
        return self.clipped(self._rest(states[:, kept], mixed.flatten(2)))

    def _inputs(self, features: Tensor) -> Tensor:
        states = features.float()
        return states if self.projection is None else self.projection(states)

    def _keys_values(self, normed: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Of all tokens: (rows, KV heads, tokens, head size) each."""
        attention = self.layer.self_attn
        split = (*normed.shape[:-1], -1, attention.head_dim)
        keys = _rotated(attention.k_proj(normed).view(split), cos, sin)
        return keys.transpose(1, 2), attention.v_proj(normed).view(split).transpose(1, 2)

    def _queries(self, normed: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(..., hidden) to (..., heads, head size)."""
        attention = self.layer.self_attn
        split = (*normed.shape[:-1], -1, attention.head_dim)
        return _rotated(attention.q_proj(normed).view(split), cos, sin)

    def _rest(self, states: Tensor, mixed: Tensor) -> Tensor:
        """From the layer's input and what attention found to raw log multipliers: (..., hidden) to (...)."""
        states = states + self.layer.self_attn.o_proj(mixed)
        states = states + self.layer.mlp(self.layer.post_attention_layernorm(states))
        values: Tensor = self.output(states)
        return values[..., 0]


def layer_config(shape: BaseShape) -> Any:
    """The configuration of the head's layer."""
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        num_hidden_layers=1,
        rms_norm_eps=shape.rms_eps,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
    )
    config._attn_implementation = "sdpa"
    return config


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on (..., heads, head size), by the (..., head size) of each token."""
    rotated: Tensor = states * cos.unsqueeze(-2) + rotate_half(states) * sin.unsqueeze(-2)
    return rotated


def _causal(valid: Tensor, query_token: Tensor) -> Tensor:
    """Who sees whom: (rows, 1, queries, tokens). A query sees itself even at padding, lest it become NaN."""
    token = torch.arange(valid.shape[1], device=valid.device)
    before = (token <= query_token[..., None]) & valid[:, None, :]
    return (before | (token == query_token[..., None]))[:, None]
