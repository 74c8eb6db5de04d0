"""Attention over a prefix that all rows share and over each row's own tokens, without copying the prefix.

For a row's queries Q, with K_p, V_p of the prefix (stored once) and K_r, V_r of the row:

    softmax([Q K_p^T, Q K_r^T + mask] * scale) [V_p; V_r]

The products with the prefix are one large matrix product over all rows. Registered with transformers as an
attention implementation, so it serves every model that takes one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, Cache

NAME = "lmtools_shared"
SCORES = 1 << 25
"""Attention scores held at a time (128 MiB at float32); more rows are computed one block after another."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (KV heads, tokens, head size)."""

_prefix: ContextVar[Sequence[KeysValues]] = ContextVar("prefix", default=())


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention of one layer, in transformers' form.

    Args:
        module: the attention layer; its ``layer_idx`` picks the prefix.
        query: (rows, heads, new tokens, head size).
        key, value: (rows, KV heads, row tokens, head size), views of ``RowCache``'s buffers.
        attention_mask: (rows, 1, new tokens, row tokens), added to the scores.
        scaling: None means 1 / sqrt(head size).

    Returns:
        (rows, new tokens, heads, head size), and no weights.
    """
    rows, heads, new, size = query.shape
    kv_heads, own = key.shape[1], key.shape[2]
    scale = size**-0.5 if scaling is None else scaling
    prefix = _prefix.get()
    shared = prefix[module.layer_idx] if prefix else None
    width = own + (shared[0].shape[1] if shared else 0)
    # Heads that use the same keys come together, and KV heads first: (KV heads, rows, group x new, size).
    grouped = (query * scale).reshape(rows, kv_heads, heads // kv_heads * new, size).transpose(0, 1)
    keys, values = key.transpose(0, 1), value.transpose(0, 1)
    mask = attention_mask[:, 0].repeat(1, heads // kv_heads, 1)  # (rows, group x new, row tokens)
    block = max(1, SCORES // (heads * new * width))
    parts = [
        _attend_block(
            grouped[:, at : at + block],
            keys[:, at : at + block],
            values[:, at : at + block],
            mask[at : at + block],
            shared,
        )
        for at in range(0, rows, block)
    ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return out.transpose(0, 1).reshape(rows, heads, new, size).transpose(1, 2), None


def _attend_block(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, shared: KeysValues | None
) -> Tensor:
    """Attention of some rows; all but ``mask`` are (KV heads, rows, tokens, head size)."""
    scores = query @ keys.transpose(-1, -2) + mask
    if shared is None:
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        return weights @ values
    kv_heads, rows, new, size = query.shape
    prefix = shared[0].shape[1]
    all_rows = query.reshape(kv_heads, rows * new, size)
    with_prefix = (all_rows @ shared[0].transpose(-1, -2)).view(kv_heads, rows, new, prefix)
    scores = torch.cat((with_prefix, scores), dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    from_prefix = weights[..., :prefix].reshape(kv_heads, rows * new, prefix) @ shared[1]
    return from_prefix.view(kv_heads, rows, new, size) + weights[..., prefix:] @ values


AttentionInterface.register(NAME, attend)


class RowCache(Cache):  # type: ignore[misc]
    """Keys and values of each row's own tokens, in buffers that are allocated once and written in place.

    Args:
        capacity: the most tokens a row will have.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(layers=[])
        self.length = 0
        self._capacity = capacity
        self._buffers: dict[int, KeysValues] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> KeysValues:
        """Store one layer's new keys and values (rows, KV heads, new, size); gives all of them so far."""
        if layer_idx not in self._buffers:
            self._buffers[layer_idx] = (self._buffer(key_states), self._buffer(value_states))
        keys, values = self._buffers[layer_idx]
        end = self.length + key_states.shape[2]
        keys[:, :, self.length : end] = key_states.transpose(0, 1)
        values[:, :, self.length : end] = value_states.transpose(0, 1)
        return keys[:, :, :end].transpose(0, 1), values[:, :, :end].transpose(0, 1)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of each row so far."""
        return self.length

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may come more than once."""
        self._buffers = {
            layer: (keys.index_select(1, rows), values.index_select(1, rows))
            for layer, (keys, values) in self._buffers.items()
        }

    def row(self, index: int) -> list[KeysValues]:
        """One row's keys and values, layer by layer."""
        return [
            (keys[:, index, : self.length], values[:, index, : self.length])
            for _, (keys, values) in sorted(self._buffers.items())
        ]

    def _buffer(self, states: Tensor) -> Tensor:
        rows, heads, _, size = states.shape
        return states.new_zeros(heads, rows, self._capacity, size)


@contextmanager
def prefixed(prefix: Sequence[KeysValues]) -> Iterator[None]:
    """Inside, attention also reaches the prefix: one pair of keys and values for each layer."""
    token = _prefix.set(prefix)
    try:
        yield
    finally:
        _prefix.reset(token)


def supports(model: Any) -> bool:
    """Whether a model's attention is the plain one that ``attend`` computes.

    Sliding windows, soft caps, attention sinks, recurrent layers and models with several parts go without.
    """
    config = model.config
    if not getattr(model, "_supports_attention_backend", False) or hasattr(config, "text_config"):
        return False
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return False
    if not getattr(config, "layer_types", None) and getattr(config, "sliding_window", None):
        return False
    if any(getattr(config, name, None) for name in ("attn_logit_softcapping", "attention_chunk_size")):
        return False
    return not any(name.endswith("sinks") for name, _ in model.named_parameters())
