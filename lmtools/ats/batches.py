"""Batches for the heads: features of sequences with little padding, and the summaries that losses are of.

``exact: true`` puts in their place summaries that are computed from the logits themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.ats.cache import FeatureCache, Summary
from lmtools.ats.extract import OutputLayer
from lmtools.ats.recipe import HeadConfig

# Exact summaries: logits that are computed again from hidden states, never all at once.
#
# An ``ExactSummary`` is a summary whose log Z(s) comes from the logits themselves. Groups of tokens are put
# through the output layer one after the other, and of each group only log Z and its derivative
#
#     d/ds log Z(s) = -sum_i p_i(s) g_i
#
# are kept: the gradient with respect to the multipliers, which is all that a head needs. The largest tensor
# is ``ROOM`` numbers, whatever the number of tokens.
#
# Since states are kept at float16, log Z is not quite that of the model's own logits, from which summaries
# are made: with the built-in model (400 tokens of Alpaca) it is off by 5e-4 nats in the mean at a
# multiplier of 1, and at most 4e-3; at 10, at most 2e-2. ``data.cache_dtype: float32`` keeps the states
# whole.

ROOM = 2**23
"""Logits computed at a time: 32 MiB, and twice as much beside them."""

LogitsOf = Callable[[Tensor], Tensor]
"""States (k, hidden) to logits (k, vocabulary)."""


@dataclass(frozen=True)
class ExactSummary(Summary):
    """Summaries whose ``log_partition`` is exact.

    ``states`` (n, hidden) are the tokens' hidden states; ``vocabulary`` is the number of logits of a token.
    """

    states: Tensor
    logits_of: LogitsOf
    vocabulary: int

    @classmethod
    def of(cls, summary: Summary, states: Tensor, logits_of: LogitsOf, vocabulary: int) -> "ExactSummary":
        """A summary with its tokens' states."""
        return cls(**vars(summary), states=states, logits_of=logits_of, vocabulary=vocabulary)

    def log_partition(self, multiplier: Tensor) -> Tensor:
        """See ``Summary``."""
        rows = max(1, ROOM // self.vocabulary)
        value: Tensor = _LogPartition.apply(multiplier, self.states, self.logits_of, rows)  # type: ignore[no-untyped-call]
        return value

    def __getitem__(self, index: object) -> Summary:
        """The summaries of some of the tokens."""
        shared: dict[str, Any] = {"logits_of": self.logits_of, "vocabulary": self.vocabulary}
        tensors = {name: value for name, value in vars(self).items() if name not in shared}
        return ExactSummary(**{name: value[index] for name, value in tensors.items()}, **shared)


class _LogPartition(torch.autograd.Function):
    """log Z of every token, (n,), differentiable in the multipliers alone."""

    @staticmethod
    def forward(ctx: Any, multiplier: Tensor, states: Tensor, logits_of: LogitsOf, rows: int) -> Tensor:
        value, slope = torch.empty_like(multiplier), torch.empty_like(multiplier)
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            value[part], slope[part] = log_partition(logits_of(states[part]), multiplier[part])
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None, None


def log_partition(logits: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """log Z(s) of rows of logits, and its derivative with respect to s.

    Args:
        logits: (k, vocabulary), any float type.
        multiplier: (k,).

    Returns:
        (k,) each, float32.
    """
    gaps = logits.float()
    gaps = gaps.amax(dim=-1, keepdim=True) - gaps
    weights = (gaps * -multiplier.detach()[:, None]).exp_()
    total = weights.sum(dim=-1)
    # A product inside the sum, lest a third array of this size is made.
    return total.log(), -torch.einsum("kv,kv->k", weights, gaps) / total


# Batches.

JITTER = 0.1
"""Before sequences are put side by side by length, lengths are moved by up to this share: batches differ."""


@dataclass(frozen=True)
class Batch:
    """What a head sees, padded on the right, and the summaries of the response tokens, row by row.

    ``features`` (rows, tokens, features), float32; ``valid`` and ``response`` (rows, tokens), bool: no
    padding, and where the next token is a response's.
    """

    features: Tensor
    valid: Tensor
    response: Tensor
    summary: Summary

    @property
    def masked(self) -> int:
        """Tokens that are no response: prompts and padding."""
        return self.response.numel() - len(self.summary.label)


class Batches:
    """Makes batches for the heads of one configuration.

    Args:
        cache: the features.
        config: which of them the head sees.
        device: where batches go.
        output: the model's output layer; needed for the feature ``argmax-row`` and for ``exact``.
        exact: summaries compute log Z from the logits.
    """

    def __init__(
        self,
        cache: FeatureCache,
        config: HeadConfig,
        device: str,
        output: OutputLayer | None = None,
        exact: bool = False,
    ) -> None:
        self.cache, self._config, self._device = cache, config, device
        self._output, self._exact = output, exact

    def make(self, sequences: Sequence[int]) -> Batch:
        """The batch of these sequences, in this order."""
        inputs = [self._features(index) for index in sequences]
        responses = [torch.from_numpy(np.array(self.cache.of_rows("wanted", index))) for index in sequences]
        features = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True).to(self._device)
        response = torch.nn.utils.rnn.pad_sequence(responses, batch_first=True).to(self._device)
        lengths = torch.tensor([len(rows) for rows in inputs])
        valid = (torch.arange(response.shape[1]) < lengths[:, None]).to(self._device)
        summary = self.cache.summary(sequences)
        summary = Summary(**{name: value.to(self._device) for name, value in vars(summary).items()})
        if self._exact:
            if self._output is None:
                raise ValueError("exact losses need the output layer")
            states = self.cache.states(self.cache.tokens(sequences))
            summary = ExactSummary.of(summary, states, self._output, len(self._output.rows))
        return Batch(features, valid, response, summary)

    def _features(self, sequence: int) -> Tensor:
        """The joined features of one sequence, (tokens, features), float32."""
        parts = [self._feature(name, sequence) for name in self._config.features]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def _feature(self, name: str, sequence: int) -> Tensor:
        if name == "hidden":
            return torch.from_numpy(self.cache.of_rows("hidden", sequence).astype(np.float32))
        if name == "argmax-row":
            if self._output is None:
                raise ValueError("the feature argmax-row needs the output layer")
            top_tokens = torch.from_numpy(np.array(self.cache.of_rows("argmax", sequence)))
            return self._output.rows[top_tokens.to(self._output.device)].float().cpu()
        return torch.from_numpy(np.array(self.cache.of_rows(name.replace("-", "_"), sequence)))[:, None]


def shuffled(lengths: NDArray[np.int64], size: int, seed: int) -> list[list[int]]:
    """Every sequence once, in batches of ``size`` that are alike in length, in an order drawn by ``seed``.

    Args:
        lengths: of each sequence, (n,).

    Returns:
        Positions in ``lengths``.
    """
    random = np.random.default_rng(seed)
    moved = lengths * random.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(moved, kind="stable")
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    return [batches[number] for number in random.permutation(len(batches))]


def by_length(lengths: NDArray[np.int64], tokens: int) -> Iterator[list[int]]:
    """Every sequence once, long ones first, in batches of at most ``tokens`` padded tokens or of one."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]]))
        yield order[start : start + size].tolist()
        start += size
