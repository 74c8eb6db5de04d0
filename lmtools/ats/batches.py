"""Sequences of the cache, in batches with little padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.ats.cache import FeatureCache
from lmtools.ats.exact import ExactSummary
from lmtools.ats.head_config import HeadConfig
from lmtools.ats.output_layer import OutputLayer
from lmtools.ats.summary import Summary

JITTER = 0.1
"""Before sequences are put side by side by length, lengths are moved by up to this share: batches differ."""


@dataclass(frozen=True)
class Batch:
    """What a head sees, padded on the right, and the summaries of the wanted tokens, row by row.

    ``features`` (rows, tokens, features), float32; ``valid`` and ``wanted`` (rows, tokens), bool.
    """

    features: Tensor
    valid: Tensor
    wanted: Tensor
    summary: Summary

    @property
    def masked(self) -> int:
        """Tokens that are no response: prompts and padding."""
        return self.wanted.numel() - len(self.summary.label)


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
        marks = [torch.from_numpy(np.array(self.cache.of_rows("wanted", index))) for index in sequences]
        features = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True).to(self._device)
        wanted = torch.nn.utils.rnn.pad_sequence(marks, batch_first=True).to(self._device)
        lengths = torch.tensor([len(one) for one in inputs])
        valid = (torch.arange(wanted.shape[1]) < lengths[:, None]).to(self._device)
        summary = self.cache.summary(sequences)
        summary = Summary(**{name: value.to(self._device) for name, value in vars(summary).items()})
        if self._exact:
            if self._output is None:
                raise ValueError("exact losses need the output layer")
            states = self.cache.states(self.cache.tokens(sequences))
            summary = ExactSummary.of(summary, states, self._output, len(self._output.rows))
        return Batch(features, valid, wanted, summary)

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
            places = torch.from_numpy(np.array(self.cache.of_rows("argmax", sequence)))
            return self._output.rows[places.to(self._output.device)].float().cpu()
        return torch.from_numpy(np.array(self.cache.of_rows(name.replace("-", "_"), sequence)))[:, None]


def shuffled(lengths: NDArray[np.int64], size: int, seed: int) -> list[list[int]]:
    """Every sequence once, in batches of ``size`` that are alike in length, in an order drawn by ``seed``.

    Args:
        lengths: of each sequence, (n,).

    Returns:
        Places in ``lengths``.
    """
    random = np.random.default_rng(seed)
    moved = lengths * random.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(moved, kind="stable")
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    return [batches[place] for place in random.permutation(len(batches))]


def by_length(lengths: NDArray[np.int64], tokens: int) -> Iterator[list[int]]:
    """Every sequence once, long ones first, in batches of at most ``tokens`` padded tokens or of one."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]]))
        yield order[start : start + size].tolist()
        start += size
