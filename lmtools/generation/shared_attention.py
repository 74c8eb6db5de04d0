"""Attention over a prefix that all rows share and over each row's own tokens, without copying the prefix.

For a row's queries Q, with K_p, V_p of the prefix (stored once) and K_r, V_r of the row:

    softmax([Q K_p^T, Q K_r^T] * scale + mask) [V_p; V_r]

The products with the prefix are one large matrix product over all rows. Registered with transformers as an
attention implementation, so it serves every model that takes one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, Cache

NAME = "lmtools_shared"
SCORES = 1 << 25
"""Attention scores held at a time (128 MiB at float32); more rows are computed one block after another."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (KV heads, tokens, head size)."""


@dataclass(frozen=True)
class PrefixContext:
    """What ``attend`` needs beside the tensors of its layer: transformers passes it no arguments of ours.

    Args:
        prefix: keys and values of the shared tokens, layer by layer; empty without a prefix.
        positions: of each row's own tokens, (rows, row tokens); the prefix has 0, 1, 2 ...
    """

    prefix: Sequence[KeysValues]
    positions: Tensor


_context: ContextVar[PrefixContext] = ContextVar("prefix")


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention of one layer, in transformers' form.

    Args:
        module: the attention layer; its ``layer_idx`` picks the prefix.
        query: (rows, heads, new tokens, head size).
        key, value: (rows, KV heads, row tokens, head size), views of ``RowCache``'s buffers.
        attention_mask: (rows, 1, new tokens, row tokens), added to the scores.
        scaling: None means 1 / sqrt(head size).
        sliding_window: how many last positions a query sees, itself included; None for all.
        softcap: scores s become softcap * tanh(s / softcap).

    Returns:
        (rows, new tokens, heads, head size), and no weights.
    """
    rows, heads, new, size = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    scale = size**-0.5 if scaling is None else scaling
    context = _context.get()
    prefix = context.prefix[module.layer_idx] if context.prefix else None
    mask = _full_mask(attention_mask[:, 0], context.positions, prefix, sliding_window).repeat(1, group, 1)
    # Heads that use the same keys come together, and KV heads first: (KV heads, rows, group x new, size).
    grouped = (query * scale).reshape(rows, kv_heads, group * new, size).transpose(0, 1)
    keys, values = key.transpose(0, 1), value.transpose(0, 1)
    # Scores take (heads, rows, new, all keys) numbers; a long prompt's are computed a few rows at a time.
    block = max(1, SCORES // (heads * new * mask.shape[-1]))
    parts = []
    for start in range(0, rows, block):
        chunk = slice(start, start + block)
        scores = _scores(grouped[:, chunk], keys[:, chunk], prefix)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        weights = torch.softmax(scores + mask[chunk], dim=-1, dtype=torch.float32).to(query.dtype)
        parts.append(_weighted(weights, values[:, chunk], prefix))
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return out.transpose(0, 1).reshape(rows, heads, new, size).transpose(1, 2), None


def _full_mask(row_mask: Tensor, positions: Tensor, prefix: KeysValues | None, window: int | None) -> Tensor:
    """The mask over prefix and own tokens, (rows, new, prefix + row tokens)."""
    rows, new, _ = row_mask.shape
    shared = prefix[0].shape[1] if prefix else 0
    mask = torch.cat((row_mask.new_zeros(rows, new, shared), row_mask), dim=-1) if shared else row_mask
    if window is None:
        return mask
    before = torch.arange(shared, device=row_mask.device).expand(rows, shared)
    keys = torch.cat((before, positions), dim=1)
    distance = positions[:, -new:, None] - keys[:, None, :]
    return mask.masked_fill(distance >= window, torch.finfo(row_mask.dtype).min)


def _scores(query: Tensor, keys: Tensor, prefix: KeysValues | None) -> Tensor:
    """Products of queries and keys (KV heads, rows, tokens, size): (KV heads, rows, queries, all keys)."""
    row_scores = query @ keys.transpose(-1, -2)
    if prefix is None:
        return row_scores
    kv_heads, rows, queries, size = query.shape
    prefix_scores = query.reshape(kv_heads, rows * queries, size) @ prefix[0].transpose(-1, -2)
    return torch.cat((prefix_scores.view(kv_heads, rows, queries, -1), row_scores), dim=-1)


def _weighted(weights: Tensor, values: Tensor, prefix: KeysValues | None) -> Tensor:
    """The weighted sum of values: (KV heads, rows, queries, head size)."""
    if prefix is None:
        return weights @ values
    kv_heads, rows, queries, _ = weights.shape
    length = prefix[1].shape[1]
    prefix_sum = weights[..., :length].reshape(kv_heads, rows * queries, length) @ prefix[1]
    return prefix_sum.view(kv_heads, rows, queries, -1) + weights[..., length:] @ values


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
def with_prefix(context: PrefixContext) -> Iterator[None]:
    """Inside, ``attend`` also attends to the prefix."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def supports(model: Any) -> bool:
    """Whether ``attend`` computes a model's attention: full or windowed, in every layer.

    Attention sinks, chunks, recurrent layers and models with several parts go without.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and not hasattr(config, "text_config")
        and kinds <= {"full_attention", "sliding_attention"}
        and not getattr(config, "attention_chunk_size", None)
        and not any(name.endswith("sinks") for name, _ in model.named_parameters())
    )
