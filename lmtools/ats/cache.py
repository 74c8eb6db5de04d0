"""What the language model computed of a set of sequences, on disk: all that fitting a head ever needs.

A folder ``ats/KEY`` of the cache holds a memory-mapped ``.npy`` file for each field that a model fills, and a
journal with the digest of every batch. The other fields are what the sequences say. Over the N rows (a token
of a sequence that is followed by another, up to the last one before a response token):

    hidden (N, hidden)    wanted (N,): whether the next token is a response's
    max_logit (N,)  log_std (N,)  argmax (N,): where a head's features ask for them

over the n response tokens, in the order of those rows: ``labels`` (n,), their ids, and the fields of
``Summary``; and over the sequences ``rows`` and ``tokens`` (S + 1,), where each one's rows and response
tokens begin. The longest sequence is the first.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.ats.recipe import FeatureName
from lmtools.ats.sequences import MarkedSequence
from lmtools.core.errors import ModelError
from lmtools.core.files import sha256_text

# What the losses need to know of a token's logits, in 623 numbers instead of a vocabulary.
#
# With gaps g_i = max(z) - z_i and one unknown multiplier s for all of a token's logits,
#
#     log p_i(s) = -s g_i - log Z(s),        log Z(s) = log sum_i exp(-s g_i).
#
# Only log Z depends on more than a few numbers. The gaps are put in bins whose width grows with the gap,
# and of each bin its count n, mean m and variance v are kept:
#
#     log Z(s) ~ log sum_b n_b exp(-s m_b + s^2 v_b / 2).
#
# Inside a bin of width w the first term left out is below 0.016 (s w)^3. Bins are about ``RATIO`` of their
# gap wide, so that what they miss, times the share of Z that they can hold, stays below ``ERROR`` for every
# multiplier in ``MULTIPLIERS``, whatever the logits.

ERROR = 1e-3
"""Nats by which log Z may be off inside that range."""
WIDTH = 0.036
"""Width of the bins near the top: at the largest multiplier still 0.36."""
EVEN = 28
"""How many bins have that width; each one after them is ``RATIO`` times its lower edge wide."""
RATIO = 1 / EVEN
FARTHEST = 500.0
"""Beyond this gap a token has no weight at any multiplier of the range; the last bin takes all of them."""
BINS = EVEN + math.ceil(math.log(FARTHEST / (EVEN * WIDTH)) / math.log1p(RATIO)) + 1
TOP = (4, 16, 64)
"""The sizes k for which the mean gap of the k most probable tokens is kept, for top-k smoothing."""
CHUNK = 4096
"""Tokens whose bins are exponentiated at a time, where memory counts."""


@dataclass(frozen=True)
class Summary:
    """Summaries of n tokens' logits; every field is float32 unless stated, on one device.

    ``label`` (n,): the gap of the right token. ``mean`` (n,): of all tokens. ``top`` (n, len(TOP)): of the k
    most probable. ``log_count``, ``centre``, ``variance`` (n, bins): log n_b (-inf where empty), m_b and v_b.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
    >>> summary = summarise(logits, torch.tensor([0]))
    >>> half = torch.tensor([0.5])  # log Z of the halved logits, less their largest
    >>> bool(abs(summary.log_partition(half) - (logits / 2 - 1).logsumexp(dim=-1)) < 1e-3)
    True
    """

    label: Tensor
    mean: Tensor
    top: Tensor
    log_count: Tensor
    centre: Tensor
    variance: Tensor

    @property
    def right(self) -> Tensor:
        """Whether the most probable token is the right one: (n,), bool."""
        return self.label == 0

    def log_partition(self, multiplier: Tensor) -> Tensor:
        """log Z(s) of one multiplier a token, (n,): also the negative log of the highest probability."""
        s = multiplier[..., None]
        return torch.logsumexp(self.log_count - s * self.centre + s * s * self.variance / 2, dim=-1)

    def __getitem__(self, index: object) -> "Summary":
        """The summaries of some of the tokens."""
        return Summary(**{name: value[index] for name, value in vars(self).items()})


class ChunkedSummary(Summary):
    """A summary whose partition function needs little memory beside it."""

    @classmethod
    def of(cls, summary: Summary) -> "ChunkedSummary":
        """The same summary."""
        return cls(**vars(summary))

    def log_partition(self, multiplier: Tensor) -> Tensor:
        """See ``Summary``; in float64 where the multiplier is."""
        chunks = [slice(start, start + CHUNK) for start in range(0, len(self.label), CHUNK)]
        return torch.cat([self[chunk].log_partition(multiplier[chunk]) for chunk in chunks])


def bin_of(gaps: Tensor) -> Tensor:
    """The bin of every gap, int64, of the same shape: even near the top, then each ``RATIO`` wider."""
    even = gaps / WIDTH
    growing = EVEN + (even.clamp(min=EVEN) / EVEN).log() / math.log1p(RATIO)
    return torch.where(even < EVEN, even, growing).long().clamp(max=BINS - 1)


def summarise(logits: Tensor, labels: Tensor) -> Summary:
    """Summarise rows of logits.

    Args:
        logits: (n, vocabulary), any float type.
        labels: (n,), the right token of each row.

    Raises:
        ModelError: a logit is NaN or infinite.

    >>> summarise(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1])).label  # the right token's gap
    tensor([1.])
    """
    z = logits.float()
    if not torch.isfinite(z).all():
        raise ModelError(
            "the model's logits hold NaN or infinity",
            fix="load it at float32, and check that its weights are whole",
        )
    gaps = z.amax(dim=-1, keepdim=True) - z
    bins = bin_of(gaps)
    empty = z.new_zeros(len(z), BINS)
    count = empty.scatter_add(1, bins, torch.ones_like(gaps))
    members = count.clamp(min=1)
    # Twice around a mean: float32 sums of thousands of large gaps lose what the exponent then magnifies.
    rough = empty.scatter_add(1, bins, gaps) / members
    away = gaps - rough.gather(1, bins)
    correction = empty.scatter_add(1, bins, away) / members
    centre = rough + correction
    variance = (empty.scatter_add(1, bins, away**2) / members - correction**2).clamp(min=0)
    variance[:, -1] = 0  # the last bin has no width to speak of
    top = gaps.topk(min(max(TOP), z.shape[1]), dim=-1, largest=False).values
    return Summary(
        label=gaps.gather(1, labels[:, None])[:, 0],
        mean=gaps.mean(dim=-1),
        top=torch.stack([top[:, :k].mean(dim=-1) for k in TOP], dim=-1),
        log_count=count.log(),
        centre=centre,
        variance=variance,
    )


FORMAT = 3
SUMMARY = tuple(field.name for field in fields(Summary))
FROM_LOGITS = ("max_logit", "log_std", "argmax")
Array = NDArray[Any]


@dataclass(frozen=True)
class FeatureCache:
    """The fields of an open cache, by name; see the module. Nothing is read before it is asked for."""

    arrays: Mapping[str, Array]

    def __len__(self) -> int:
        """The number of sequences."""
        return len(self.arrays["rows"]) - 1

    def lengths(self) -> NDArray[np.int64]:
        """The number of rows of each sequence."""
        return np.diff(self.arrays["rows"])

    def counts(self) -> NDArray[np.int64]:
        """The number of response tokens of each sequence."""
        return np.diff(self.arrays["tokens"])

    def of_rows(self, name: str, sequence: int) -> Array:
        """A field of one sequence's rows."""
        start, end = self.arrays["rows"][sequence : sequence + 2]
        return self.arrays[name][start:end]

    def tokens(self, sequences: Sequence[int]) -> NDArray[np.int64]:
        """The places of the response tokens of these sequences, one sequence after the other."""
        starts = self.arrays["tokens"]
        return np.concatenate([np.arange(starts[i], starts[i + 1]) for i in sequences] or [np.arange(0)])

    def of_tokens(self, name: str, sequences: Sequence[int]) -> Array:
        """A field of the response tokens of these sequences, one sequence after the other; a copy."""
        starts, array = self.arrays["tokens"], self.arrays[name]
        parts = [array[starts[i] : starts[i + 1]] for i in sequences]
        return np.concatenate(parts) if parts else array[:0].copy()

    def summary(self, sequences: Sequence[int]) -> Summary:
        """The summaries of the response tokens of these sequences, one sequence after the other."""
        return Summary(**{name: torch.from_numpy(self.of_tokens(name, sequences)) for name in SUMMARY})

    @cached_property
    def _row_of_token(self) -> NDArray[np.int64]:
        """The row of every response token."""
        return np.flatnonzero(self.arrays["wanted"])

    def states(self, tokens: NDArray[np.int64]) -> torch.Tensor:
        """The hidden states that response tokens are predicted from, by the tokens' places."""
        rows = self._row_of_token[tokens]
        return torch.from_numpy(np.ascontiguousarray(self.arrays["hidden"][rows]))


@dataclass(frozen=True)
class SequenceRows:
    """A set of sequences in the order of the cache, and what their tokens say before any model runs."""

    marked: tuple[MarkedSequence, ...]

    @classmethod
    def of(cls, marked: Sequence[MarkedSequence]) -> "SequenceRows":
        """In the cache's order, which depends on the sequences alone: long ones first."""
        return cls(
            tuple(sorted(marked, key=lambda sequence: (-_rows(sequence), sequence.ids, sequence.response)))
        )

    def layout(self) -> dict[str, Array]:
        """The fields that need no model: where sequences begin, which rows are learnt from, labels."""
        responses = [np.array(sequence.response[1 : _rows(sequence) + 1]) for sequence in self.marked]
        following = [np.array(sequence.ids[1 : _rows(sequence) + 1]) for sequence in self.marked]
        labels = [ids[mask] for ids, mask in zip(following, responses, strict=True)]
        return {
            "rows": np.cumsum([0, *map(len, responses)], dtype=np.int64),
            "tokens": np.cumsum([0, *map(len, labels)], dtype=np.int64),
            "wanted": np.concatenate(responses),
            "labels": np.concatenate(labels).astype(np.int64),
        }

    def inputs(self, sequence: int) -> tuple[int, ...]:
        """The tokens of a sequence's rows."""
        marked = self.marked[sequence]
        return marked.ids[: _rows(marked)]


def shapes(layout: Mapping[str, Array], hidden: int, dtype: str, from_logits: bool) -> dict[str, Any]:
    """Name -> (shape, type) of the fields that a model fills."""
    rows, tokens = int(layout["rows"][-1]), int(layout["tokens"][-1])
    wide = {"top": (tokens, len(TOP))} | dict.fromkeys(("log_count", "centre", "variance"), (tokens, BINS))
    sizes: dict[str, Any] = {"hidden": ((rows, hidden), dtype)}
    sizes |= {name: (wide.get(name, (tokens,)), "float32") for name in SUMMARY}
    if from_logits:
        sizes |= {name: ((rows,), "int64" if name == "argmax" else "float32") for name in FROM_LOGITS}
    return sizes


def cache_key(
    model: str, sequences: SequenceRows, dtype: str, from_logits: bool, device: str, batch_tokens: int
) -> str:
    """What decides the content, as one hash: the model by content, every token, and what is kept of each.

    Data, template, layouts and limits all show in the tokens, so that nothing else needs to be named. Device
    and batches decide how numbers are rounded.
    """
    settings = (FORMAT, model, dtype, from_logits, WIDTH, EVEN, FARTHEST, TOP, device, batch_tokens)
    tokens = (f"{sequence.ids}{[int(mark) for mark in sequence.response]}" for sequence in sequences.marked)
    return sha256_text("\n".join([repr(settings), *map(sha256_text, tokens)]))


def open_arrays(folder: Path, names: Sequence[str]) -> dict[str, Array]:
    """The fields in a folder, mapped into memory.

    Raises:
        OSError: a file is missing.
        ValueError: a file is truncated, or none of numpy's.
    """
    return {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r") for name in names}


def batch_digest(arrays: Mapping[str, Array], layout: Mapping[str, Array], start: int, end: int) -> str:
    """The SHA-256 of what a model filled in for sequences ``start`` to ``end``; types and shapes count.

    Raises:
        ValueError: a field is not as long as the sequences have rows or response tokens.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        bounds = layout["tokens" if name in SUMMARY else "rows"]
        if arrays[name].shape[:1] != (bounds[-1],):
            raise ValueError(f"{name}: shape {arrays[name].shape}")
        part = arrays[name][bounds[start] : bounds[end]]
        digest.update(f"{name} {part.dtype.str} {part.shape}".encode())
        digest.update(part.tobytes())
    return digest.hexdigest()


def _rows(sequence: MarkedSequence) -> int:
    """Tokens up to the last one that a response token follows."""
    return max(position for position, mark in enumerate(sequence.response) if mark)


# What a head sees of a token.

SMALLEST = 1e-6
"""Logits that are all the same have this standard deviation, whose log is finite."""


def features(
    names: Sequence[FeatureName],
    hidden: Tensor,
    logits: Tensor | None = None,
    output_rows: Tensor | None = None,
) -> Tensor:
    """The features ``names`` of tokens, joined in that order.

    Args:
        hidden: the last hidden states after the final norm, (..., hidden).
        logits: the model's logits, soft cap included, (..., vocabulary); needed by all but ``hidden``.
        output_rows: the output projection's weights, (vocabulary, hidden); needed by ``argmax-row``.

    Returns:
        (..., features), float32.

    Raises:
        ValueError: what a feature needs was not given.
    """
    return torch.cat([_feature(name, hidden, logits, output_rows) for name in names], dim=-1)


def _feature(name: FeatureName, hidden: Tensor, logits: Tensor | None, output_rows: Tensor | None) -> Tensor:
    if name == "hidden":
        return hidden.float()
    if logits is None:
        raise ValueError(f"the feature {name} needs logits")
    if name == "max-logit":
        return logits.float().amax(dim=-1, keepdim=True)
    if name == "log-std":
        return logits.float().std(dim=-1, correction=0, keepdim=True).clamp(min=SMALLEST).log()
    if output_rows is None:
        raise ValueError(f"the feature {name} needs the output projection's rows")
    return output_rows[logits.argmax(dim=-1)].float()
