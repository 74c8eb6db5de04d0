"""What a batch of rows has been fed so far, and the next step: token ids in, logits out.

A past is what transformers calls ``past_key_values``, with its positions and mask. ``SharedPast`` keeps the
prefix of all rows once (``shared_attention``). ``PlainPast`` is for the few models whose attention that is
not: there every row holds all of its tokens. ``PrefixCache`` starts pasts and keeps the prefixes computed
last; ``plan_groups`` and ``pack`` decide which prompts are computed together.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from lmtools.generation.shared_attention import (
    NAME,
    KeysValues,
    PrefixContext,
    RowCache,
    supports,
    with_prefix,
)
from lmtools.models.load import base_model

# Which prompts are computed together: groups that share a long prefix, batches within a token budget. Pure
# functions on token ids.

MIN_PREFIX = 32
"""Shared tokens below which a group is not worth a pass of its own."""
GROUP_COST = 256
"""What another group costs, in prompt tokens: it decodes apart from the others, in smaller batches."""


@dataclass(frozen=True)
class PrefixGroup:
    """Prompts, by index, whose first ``shared`` tokens are the same."""

    members: tuple[int, ...]
    shared: int


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens ``a`` and ``b`` have in common from their start."""
    length = min(len(a), len(b))
    low, high = 0, length  # the longest equal start lies in [low, high]; comparing slices runs in C
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def plan_groups(prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[PrefixGroup]:
    """Partition prompts into groups, so that the tokens saved less ``GROUP_COST`` a group are the most.

    A group of n prompts that share L tokens saves (n - 1) L. In the order of their tokens, prompts with a
    common prefix are neighbours, so the candidates are the nested intervals between the shortest overlaps.

    Args:
        prompts: token ids of each prompt.
        limits: the most tokens of each prompt that may be shared (its end is needed for its logits).

    Returns:
        Groups that together hold every index once; those that share nothing have ``shared`` 0.
    """
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    overlaps = [min(common_prefix(prompts[a], prompts[b]), limits[a], limits[b]) for a, b in pairwise(order)]
    chosen = _best(overlaps)
    grouped = {position for start, stop, _ in chosen for position in range(start, stop)}
    groups = [PrefixGroup(tuple(order[start:stop]), shared) for start, stop, shared in chosen]
    alone = tuple(order[position] for position in range(len(order)) if position not in grouped)
    return [*groups, PrefixGroup(alone, 0)] if alone else groups


def _best(overlaps: Sequence[int]) -> list[tuple[int, int, int]]:
    """The best disjoint intervals (start, stop, shared) of positions, given the overlaps of neighbours.

    Every candidate is an interval over which no overlap is below its shared length: the intervals that a
    stack finds while it walks over the overlaps. ``value[i]`` is the best saving of the first i positions.
    """
    n = len(overlaps) + 1
    ending: list[list[tuple[int, int]]] = [[] for _ in range(n + 1)]
    stack: list[tuple[int, int]] = []  # (start, shared), shared rising
    for position, overlap in enumerate([*overlaps, 0]):
        start = position
        while stack and stack[-1][1] >= overlap:
            start, shared = stack.pop()
            if shared >= MIN_PREFIX:
                ending[position + 1].append((start, shared))
        stack.append((start, overlap))
    value = [0] * (n + 1)
    taken: list[tuple[int, int] | None] = [None] * (n + 1)
    for stop in range(1, n + 1):
        value[stop] = value[stop - 1]
        for start, shared in ending[stop]:
            saving = value[start] + (stop - start - 1) * shared - GROUP_COST
            if saving > value[stop]:
                value[stop], taken[stop] = saving, (start, shared)
    return _walk_back(taken)


def _walk_back(taken: Sequence[tuple[int, int] | None]) -> list[tuple[int, int, int]]:
    intervals = []
    stop = len(taken) - 1
    while stop > 0:
        choice = taken[stop]
        if choice is None:
            stop -= 1
        else:
            intervals.append((choice[0], stop, choice[1]))
            stop = choice[0]
    return intervals[::-1]


def pack(lengths: Sequence[int], budget: int, most: int) -> Iterator[list[int]]:
    """Indices in batches, longest first, so that rows of a batch are of like length.

    A batch has at most ``most`` rows, and (rows x its longest) is within ``budget``; one row always fits.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == most or (len(batch) + 1) * lengths[batch[0]] > budget):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


# Keys and values of what was fed, and the next forward pass.

BLOCK = 128
"""A prefix is computed in blocks of this many tokens. Each block's bits depend on the tokens up to its end
alone, so a prefix has the same keys whether its beginning was still at hand or not."""


class Past(Protocol):
    """The rows of one batch."""

    def forward(self, ids: Tensor, valid: Tensor, keep: int) -> Tensor:
        """Feed every row its next tokens.

        Args:
            ids: (rows, tokens), left-padded.
            valid: the same shape; False at padding.
            keep: how many last positions need logits.

        Returns:
            Logits (rows, ``keep``, vocabulary), float32.
        """
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with these rows; a row may come more than once."""
        ...


class PrefixCache:
    """Starts pasts of one model and keeps the prefixes it computed last, up to ``tokens`` tokens of them."""

    def __init__(self, model: Any, tokens: int) -> None:
        self._model = model
        self._base = base_model(model)
        self.shares = supports(self._base)
        """Whether rows may have a prefix in common."""
        self._tokens = tokens
        self._prefixes: OrderedDict[tuple[int, ...], list[KeysValues]] = OrderedDict()

    def start(self, prefix: Sequence[int], capacity: int) -> Past:
        """The past of rows that all begin with ``prefix``, with room for ``capacity`` more tokens each.

        The prefix must be empty for a model that does not share.
        """
        if not self.shares:
            return PlainPast(self._model)
        return SharedPast(self._model, self._keys(tuple(prefix)), len(prefix), capacity)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model in evaluation mode, without gradients, with our attention; afterwards as it was."""
        training, attention = self._model.training, self._base.config._attn_implementation
        self._model.eval()
        if self.shares:
            self._base.config._attn_implementation = NAME
        try:
            with torch.inference_mode():
                yield
        finally:
            self._base.config._attn_implementation = attention
            self._model.train(training)

    def clear(self) -> None:
        """Drop the remembered prefixes: after an out-of-memory error, or when the weights have changed."""
        self._prefixes.clear()

    def _keys(self, prefix: tuple[int, ...]) -> list[KeysValues]:
        """Keys and values of a prefix, layer by layer; it begins with the nearest one computed before."""
        if not prefix:
            return []
        if prefix not in self._prefixes:
            # Only whole blocks are taken over, so that every block has the same bits however it came about.
            nearest = max(self._prefixes, key=lambda other: common_prefix(prefix, other), default=())
            reused = common_prefix(prefix, nearest) // BLOCK * BLOCK
            layers = _cut(self._prefixes[nearest], reused) if reused else []
            for start in range(reused, len(prefix), BLOCK):
                block = prefix[start : start + BLOCK]
                past = SharedPast(self._model, layers, start, len(block))
                past.forward(*row(block, self._model.device), keep=1)
                layers = _joined(layers, past.cache.row(0))
            self._remember(prefix, layers)
        self._prefixes.move_to_end(prefix)
        return list(self._prefixes[prefix])

    def _remember(self, prefix: tuple[int, ...], layers: list[KeysValues]) -> None:
        self._prefixes[prefix] = layers
        while len(self._prefixes) > 1 and sum(map(len, self._prefixes)) > self._tokens:
            self._prefixes.popitem(last=False)


class SharedPast:
    """Rows on top of a prefix that is stored once."""

    def __init__(self, model: Any, prefix: Sequence[KeysValues], shared: int, capacity: int) -> None:
        self.cache = RowCache(capacity)
        self._model, self._prefix, self._shared = model, prefix, shared
        self._valid: Tensor | None = None

    def forward(self, ids: Tensor, valid: Tensor, keep: int) -> Tensor:
        """See ``Past``."""
        seen = self.cache.length
        self._valid = valid if self._valid is None else torch.cat((self._valid, valid), dim=1)
        here = positions(self._valid, self._shared)
        with with_prefix(PrefixContext(self._prefix, here)):
            logits = _logits(
                self._model,
                keep,
                input_ids=ids,
                attention_mask=causal_mask(self._valid, ids.shape[1], self._model.dtype),
                position_ids=here[:, seen:],
                past_key_values=self.cache,
                use_cache=True,
            )
        self.cache.length += ids.shape[1]
        return logits

    def select(self, rows: Tensor) -> None:
        """See ``Past``."""
        self.cache.select(rows)
        if self._valid is not None:
            self._valid = self._valid[rows]


class PlainPast:
    """Rows in transformers' own cache, with the model's own attention; nothing is shared."""

    def __init__(self, model: Any) -> None:
        from transformers import DynamicCache

        self._model, self._cache = model, DynamicCache(config=base_model(model).config)
        self._valid: Tensor | None = None

    def forward(self, ids: Tensor, valid: Tensor, keep: int) -> Tensor:
        """See ``Past``."""
        self._valid = valid if self._valid is None else torch.cat((self._valid, valid), dim=1)
        return _logits(
            self._model,
            keep,
            input_ids=ids,
            attention_mask=self._valid.long(),
            position_ids=positions(self._valid, 0)[:, -ids.shape[1] :],
            past_key_values=self._cache,
            use_cache=True,
        )

    def select(self, rows: Tensor) -> None:
        """See ``Past``."""
        self._cache.batch_select_indices(rows)
        if self._valid is not None:
            self._valid = self._valid[rows]


def positions(valid: Tensor, shared: int) -> Tensor:
    """Position ids (rows, tokens) of left-padded rows after ``shared`` tokens; padding gets the first."""
    return (valid.long().cumsum(dim=1) - 1).clamp(min=0) + shared


def causal_mask(valid: Tensor, new: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: 0 where a query may look, a very low number elsewhere.

    Args:
        valid: (rows, row tokens), False at padding.
        new: how many of the last tokens are queries.

    Returns:
        (rows, 1, ``new``, row tokens). Not minus infinity: padding that sees nothing would become NaN.
    """
    total = valid.shape[1]
    before = torch.ones(new, total, dtype=torch.bool, device=valid.device).tril(total - new)
    seen = before & valid[:, None, None, :]
    return torch.zeros(seen.shape, dtype=dtype, device=valid.device).masked_fill(
        ~seen, torch.finfo(dtype).min
    )


def row(ids: Sequence[int], device: Any) -> tuple[Tensor, Tensor]:
    """A single row's token ids and validity, each (1, tokens)."""
    tensor = torch.tensor([list(ids)], device=device)
    return tensor, torch.ones_like(tensor, dtype=torch.bool)


def _logits(model: Any, keep: int, **inputs: Any) -> Tensor:
    logits: Tensor = model(logits_to_keep=keep, **inputs).logits
    return logits[:, -keep:].float()


def _cut(layers: Sequence[KeysValues], tokens: int) -> list[KeysValues]:
    return [(keys[:, :tokens].contiguous(), values[:, :tokens].contiguous()) for keys, values in layers]


def _joined(first: Sequence[KeysValues], second: Sequence[KeysValues]) -> list[KeysValues]:
    if not first:
        return [(k.contiguous(), v.contiguous()) for k, v in second]
    return [
        (torch.cat((a, c), dim=1), torch.cat((b, d), dim=1))
        for (a, b), (c, d) in zip(first, second, strict=True)
    ]
