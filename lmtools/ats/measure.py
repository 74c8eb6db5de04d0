"""How good each method is on held-out tokens: loss, NLL, calibration error of the top choice, multiplier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.ats.baselines.scalar import InChunks
from lmtools.ats.objective import Objective
from lmtools.ats.summary import Summary
from lmtools.calibration.reading import UNCALIBRATED
from lmtools.core.results import Difference, Row
from lmtools.core.statistics import Floats, bootstrap_mean, paired_difference
from lmtools.metrics.calibration_intervals import clustered_ece, clustered_ece_difference


@dataclass(frozen=True)
class TokenScores:
    """What a method makes of n tokens.

    ``means`` are (n,) each and are averaged; ``confidence`` (n,) is the probability of the top choice, and
    ``correct`` (n,) whether that is the right token.
    """

    means: Mapping[str, Floats]
    confidence: Floats
    correct: NDArray[np.bool_]


def of_multipliers(summary: Summary, multiplier: Tensor, objective: Objective, masked: int) -> TokenScores:
    """The scores of multipliers, (n,) one a token.

    Args:
        masked: tokens beside these, see ``Objective``.
    """
    parts, s = InChunks(**vars(summary)), multiplier.double()
    partition = parts.log_partition(s)
    return TokenScores(
        {
            "loss": objective.each(parts, s, masked).numpy(),
            "nll": (partition + s * summary.label).numpy(),
            "multiplier": s.numpy(),
        },
        partition.neg().exp().clamp(max=1).numpy(),
        summary.right.numpy(),
    )


def of_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """NLL, top probability and whether the top choice is right, (k,) each, of logits (k, vocabulary)."""
    chances = logits.float().log_softmax(dim=-1)
    top, choice = chances.max(dim=-1)
    return -chances.gather(1, labels[:, None])[:, 0], top.exp(), choice == labels


def table(
    scores: Mapping[str, TokenScores], clusters: Sequence[int], resamples: int, seed: int
) -> tuple[list[Row], list[Difference]]:
    """A row for each method, and each one's differences from the uncalibrated model.

    Args:
        scores: by method, of the same n tokens; "uncalibrated" is among them.
        clusters: (n,), the sequence of each token: tokens of a sequence are not independent.
    """
    rows, differences = [], []
    base = scores[UNCALIBRATED]
    for name, mine in scores.items():
        metrics = {
            metric: bootstrap_mean(values, clusters, resamples, seed) for metric, values in mine.means.items()
        }
        metrics["token-ece"] = clustered_ece(mine.confidence, mine.correct, clusters, resamples, seed)
        rows.append(Row(name, metrics))
        if name == UNCALIBRATED:
            continue
        for metric, values in mine.means.items():
            if metric in base.means and metric != "multiplier":
                found = paired_difference(values, base.means[metric], clusters, resamples, seed)
                differences.append(Difference.of(name, UNCALIBRATED, metric, found))
        both = (mine.confidence, mine.correct, base.confidence, base.correct)
        found = clustered_ece_difference(*both, clusters, resamples, seed)
        differences.append(Difference.of(name, UNCALIBRATED, "token-ece", found))
    return rows, differences


def joined(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> TokenScores:
    """The scores of groups of tokens, as ``of_logits`` gives them."""
    nll, confidence, correct = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return TokenScores({"nll": nll.double().numpy()}, confidence.double().numpy(), correct.numpy())
