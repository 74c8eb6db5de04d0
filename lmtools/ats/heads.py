"""Temperature heads: features of tokens in, log multipliers of their logits out.

    head = build_head(HeadConfig(), base_shape(model.config))
    log_multipliers = head(hidden_states, valid=attention_mask.bool())

A token's calibrated logits are ``exp(log multiplier) * logits``; a new head gives a multiplier of exactly 1.
The transformer head sees the tokens before, and so needs one more layer in the language model's cache
(``attention_inputs``); the others see the token alone.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, LlamaConfig
from transformers.cache_utils import DynamicLayer, StaticLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRotaryEmbedding,
    eager_attention_forward,
    rotate_half,
)

from lmtools.ats.recipe import BaseShape, HeadConfig, HeadKind
from lmtools.core.errors import ModelError
from lmtools.generation.shared_attention import NAME

# What a head is, and the heads without context.

SPREAD = 0.02
"""Standard deviation of the weights that do not start at zero, as Llama's do."""


class TemperatureHead(nn.Module):
    """A head; its parameters are float32."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__()
        self.config, self.shape = config, shape

    def forward(self, features: Tensor, valid: Tensor | None = None, select: Tensor | None = None) -> Tensor:
        """Log multipliers of whole sequences.

        Args:
            features: (rows, tokens, features), any float type.
            valid: (rows, tokens), False at padding, on whichever side; None: there is none.
            select: (rows, tokens), bool: the tokens whose multipliers are needed; None: all.

        Returns:
            (rows, tokens), or with ``select`` those alone, row by row, flat. float32, within the clip; of
            padding, without meaning.
        """
        chosen = features if select is None else features[select]
        return self.clipped(self.raw(chosen.float()))

    def raw(self, features: Tensor) -> Tensor:
        """Log multipliers before the clip: (..., features) to (...)."""
        raise NotImplementedError

    def clipped(self, raw: Tensor) -> Tensor:
        """Log multipliers inside the clip."""
        low, high = self.config.clip
        return raw.clamp(math.log(low), math.log(high))


class ScalarHead(TemperatureHead):
    """One temperature for all tokens."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        self.log_multiplier = nn.Parameter(torch.zeros(1))

    def raw(self, features: Tensor) -> Tensor:
        """See ``TemperatureHead``."""
        return self.log_multiplier.expand(features.shape[:-1])


class LinearHead(TemperatureHead):
    """A linear function of the token's features."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        self.output = zero_output(shape.width(config.features))

    def raw(self, features: Tensor) -> Tensor:
        """See ``TemperatureHead``."""
        values: Tensor = self.output(features)
        return values[..., 0]


class MlpHead(TemperatureHead):
    """A SwiGLU layer: ``output(silu(gate_proj x) * up_proj x)``.

    Its down projection and the linear function after it would be one linear function; so they are.
    """

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        width, size = shape.width(config.features), config.mlp_size or shape.intermediate
        self.gate_proj = nn.Linear(width, size, bias=False)
        self.up_proj = nn.Linear(width, size, bias=False)
        self.output = zero_output(size)
        for layer in (self.gate_proj, self.up_proj):
            nn.init.normal_(layer.weight, std=SPREAD)

    def raw(self, features: Tensor) -> Tensor:
        """See ``TemperatureHead``."""
        inner = nn.functional.silu(self.gate_proj(features)) * self.up_proj(features)
        values: Tensor = self.output(inner)
        return values[..., 0]


def zero_output(width: int) -> nn.Linear:
    """The last layer of a head, all zeros: a log multiplier of 0."""
    output = nn.Linear(width, 1)
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    return output


# The head that sees the tokens before: a Llama decoder layer over the features, and a linear function.
#
# With features X (rows, tokens, hidden), the layer is pre-norm with causal attention, RoPE at base 10000
# and SwiGLU; its sizes are the base model's. Keys and values are needed of every token, all else only where
# a multiplier is wanted: in training at the answers' tokens, in generation at the last one.

ROPE_BASE = 10000.0


@dataclass(frozen=True)
class AttentionInputs:
    """What attention of new tokens needs beside their states, in transformers' forms.

    ``mask`` is what attention ``implementation`` takes, for all new tokens: (rows, 1, new, seen) or None;
    ``position_ids`` are the new tokens', (rows or 1, new). ``cache`` holds the tokens before and takes the
    new ones.
    """

    mask: Tensor | None
    position_ids: Tensor
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

    def use_cache_layer(self, layer_index: int) -> None:
        """Keep the layer's keys and values under this number of a cache."""
        self.layer.self_attn.layer_idx = layer_index

    def forward(self, features: Tensor, valid: Tensor | None = None, select: Tensor | None = None) -> Tensor:
        """See ``TemperatureHead``."""
        everywhere = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        valid = everywhere if valid is None else valid
        selected = everywhere if select is None else select
        if not selected.any():
            return features.new_zeros(0, dtype=torch.float32)
        # Keys and values of all tokens, at positions that do not count padding.
        states = self._inputs(features)
        normed = self.layer.input_layernorm(states)
        cos, sin = self.rotary(states, (valid.long().cumsum(dim=1) - 1).clamp(min=0))
        keys, values = self._keys_values(normed, cos, sin)
        # Queries of the selected tokens alone. Rows have different numbers of them: each row's are moved to
        # its beginning, and what is behind them is never read.
        row, token = selected.nonzero(as_tuple=True)
        slot = (selected.long().cumsum(dim=1) - 1)[selected]
        flat = self._queries(normed[selected], cos[selected], sin[selected])
        queries = flat.new_zeros(len(selected), int(slot.max()) + 1, *flat.shape[1:])
        queries[row, slot] = flat
        query_token = torch.zeros(queries.shape[:2], dtype=torch.long, device=row.device)
        query_token[row, slot] = token
        # A query may see its own token and the valid ones before it.
        attention = self.layer.self_attn
        mask = _causal(valid, query_token)
        mixed, _ = sdpa_attention_forward(
            attention, queries.transpose(1, 2), keys, values, mask, scaling=attention.scaling, is_causal=False
        )
        logs = self.clipped(self._after_attention(states[selected], mixed[row, slot].flatten(1)))
        return logs if select is not None else logs.view(selected.shape)

    def step(self, features: Tensor, kept: slice | Tensor, inputs: AttentionInputs) -> Tensor:
        """Log multipliers of some of the new tokens; keys and values of all of them go to the cache.

        Args:
            features: (rows, new, features), of every new token.
            kept: which of the new tokens, as an index into their dimension.
            inputs: the tokens before, and who may see whom.

        Returns:
            (rows, kept), float32, within the clip.
        """
        states = self._inputs(features)
        normed = self.layer.input_layernorm(states)
        cos, sin = self.rotary(states, inputs.position_ids)
        keys, values = self._keys_values(normed, cos, sin)
        attention = self.layer.self_attn
        if inputs.cache is not None:
            keys, values = inputs.cache.update(keys, values, attention.layer_idx)
        queries = self._queries(normed[:, kept], cos[:, kept], sin[:, kept]).transpose(1, 2)
        mask = None if inputs.mask is None else inputs.mask[:, :, kept]
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(inputs.implementation, eager_attention_forward)
        mixed, _ = attend(attention, queries, keys, values, mask, scaling=attention.scaling)
        return self.clipped(self._after_attention(states[:, kept], mixed.flatten(2)))

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

    def _after_attention(self, states: Tensor, mixed: Tensor) -> Tensor:
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


# All kinds, by the name that a recipe has for them.

KINDS: dict[HeadKind, type[TemperatureHead]] = {
    "transformer": TransformerHead,
    "mlp": MlpHead,
    "linear": LinearHead,
    "scalar": ScalarHead,
}


def build_head(config: HeadConfig, shape: BaseShape, seed: int = 0) -> TemperatureHead:
    """A new head on the processor, at a multiplier of exactly 1 everywhere; the same for the same seed.

    >>> shape = BaseShape(
    ...     hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, layers=2, vocabulary=100
    ... )
    >>> head = build_head(HeadConfig(kind="linear"), shape)
    >>> head(torch.randn(1, 3, 8)).exp().tolist()  # one multiplier of its logits for each token
    [[1.0, 1.0, 1.0]]
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[config.kind](config, shape).float()


# What a head's attention layer needs beside the base model's: a layer of the cache, a mask, positions.
#
# All of it is computed before the base model runs, for then the cache grows.

SHARED_ATTENTION = ("eager", "sdpa", NAME)
"""Implementations of attention that a float32 layer can share with its base; else it takes ``sdpa``."""


def add_cache_layers(cache: Cache, layer: int) -> None:
    """Give a cache that has exactly the base model's layers one for each up to number ``layer``.

    Caches that grow by themselves, or keep no list of layers, are left alone.
    """
    if not cache.layers or cache.layer_class_to_replicate is not None:
        return
    # The longest: a sliding layer holds no more than its window.
    fixed = max((kept.max_cache_len for kept in cache.layers if isinstance(kept, StaticLayer)), default=None)
    while len(cache.layers) <= layer:
        cache.layers.append(DynamicLayer() if fixed is None else StaticLayer(fixed))


def attention_inputs(
    states: Tensor,
    kept: slice | Tensor,
    attention_mask: Any,
    position_ids: Tensor | None,
    cache: Cache | None,
    layer: int,
    config: Any,
    implementation: str,
) -> AttentionInputs:
    """The inputs of a head's attention for new tokens, before the base model has seen them.

    Args:
        states: anything of shape (rows, new, ...) on the device.
        kept: which of the new tokens will be queries.
        attention_mask: as the model was given it: (rows, seen and new), with 4 dimensions, by kind of layer,
            or None.
        position_ids: (rows, new), or None for 0, 1, 2 ...: RoPE depends on differences alone.
        cache: the cache, with room for ``layer``.
        layer: the number of the head's first layer in the cache.
        config: the configuration of the head's layer.
        implementation: the base model's attention.

    Raises:
        ModelError: the cache holds tokens that the head has not seen, or has no room for the new ones.
    """
    rows, new = states.shape[:2]
    before = 0 if cache is None else int(cache.get_seq_length(layer))
    if cache is not None and before != int(cache.get_seq_length()):
        raise ModelError(
            "the cache holds tokens that the temperature head has not seen",
            fix="fill it with the calibrated model, not with the base model",
        )
    kept_layer = cache.layers[layer] if cache is not None and layer < len(cache.layers) else None
    if isinstance(kept_layer, StaticLayer) and before + new > kept_layer.max_cache_len:
        raise ModelError(
            f"the cache has room for {kept_layer.max_cache_len} tokens of the head's, not {before + new}",
            fix="make it longer; if all of the model's layers see a window only, take one that is not static",
        )
    if position_ids is None or position_ids.ndim != 2:
        position_ids = torch.arange(before, before + new, device=states.device)[None]
    config._attn_implementation = implementation if implementation in SHARED_ATTENTION else "sdpa"
    if isinstance(attention_mask, dict):  # by kind of layer
        attention_mask = attention_mask.get("full_attention")
    # Without a mask, attention takes the queries for all tokens or, if one, for the last: a slice ends there.
    plain = isinstance(kept, slice) and len(range(new)[kept]) in (1, new)
    mask = create_causal_mask(
        config=config,
        inputs_embeds=torch.empty(rows, new, 0, dtype=torch.float32, device=states.device),
        attention_mask=attention_mask,
        past_key_values=cache,
        layer_idx=layer,
        allow_is_causal_skip=plain,
    )
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    return AttentionInputs(mask, position_ids, cache, config._attn_implementation)
