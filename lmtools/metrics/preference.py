"""Metrics of reward models on preference pairs, and RewardBench's sections: pure functions.

A margin is the reward of the chosen answer less that of the rejected one: above 0, the order is right.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats


def correct(margins: ArrayLike) -> Floats:
    """1 where the chosen answer has the higher reward, 0 where the lower, 1/2 at a tie; any shape.

    >>> correct([2.0, 0.0, -1.0]).tolist()
    [1.0, 0.5, 0.0]
    """
    values = np.asarray(margins, dtype=np.float64)
    return np.asarray(0.5 + 0.5 * np.sign(values), dtype=np.float64)


def accuracy(margins: ArrayLike) -> float:
    """The share of pairs in the right order, ties as half: (n,) to a number in [0, 1].

    Raises:
        ValueError: no pairs, or a margin that is not finite.
    """
    return float(correct(_finite(margins, axes=1)).mean())


def agreement_with(margins: ArrayLike) -> Floats:
    """How often each head agrees with the labels, ties as half: its accuracy, (n, K) to (K,).

    Raises:
        ValueError: no pairs or no heads, or a margin that is not finite.
    """
    return np.asarray(correct(_finite(margins, axes=2)).mean(axis=0))


def pairwise_disagreement(margins: ArrayLike) -> float:
    """How often two different heads order a pair differently: (n, K) to a number in [0, 1].

    The mean over all examples of ``disagreements``.

    >>> pairwise_disagreement([[1.0, -1.0, 2.0]])
    0.6666666666666666

    Raises:
        ValueError: no pairs or no heads, or a margin that is not finite.
    """
    return float(disagreements(margins).mean())


def disagreements(margins: ArrayLike) -> Floats:
    """On each example, how often two different heads order the pair differently: (n, K) to (n,), in [0, 1].

    The mean over all pairs of heads of (1 - s_i s_j) / 2, s the sign of a margin; with S the sum of the signs
    on an example, sum_{i != j} s_i s_j = S^2 - sum_i s_i^2, so it takes O(n K). A tie of either head counts
    as half. 0 for a single head.

    >>> disagreements([[1.0, -1.0], [1.0, 1.0]]).tolist()
    [1.0, 0.0]

    Raises:
        ValueError: no pairs or no heads, or a margin that is not finite.
    """
    signs = np.sign(_finite(margins, axes=2))
    heads = signs.shape[1]
    if heads == 1:
        return np.zeros(len(signs))
    together = np.square(signs.sum(axis=1)) - np.square(signs).sum(axis=1)
    return np.asarray((1 - together / (heads * (heads - 1))) / 2, dtype=np.float64)


def weighted_disagreements(margins: ArrayLike, weights: ArrayLike) -> Floats:
    """On each example, how often two heads drawn by weight, with replacement, want different orders: (n,).

    With s_k the sign of what head k adds to the weighted margin and v_k = |w_k| / sum |w| this is
    (1 - (sum_k v_k s_k)^2) / 2, from 0 to 1/2. Where all weights are 0, 1/2: nothing is preferred.

    Args:
        margins: (n, K).
        weights: (K,), of any size and sign.

    >>> weighted_disagreements([[1.0, -1.0], [1.0, 1.0]], [0.5, 0.5]).tolist()
    [0.5, 0.0]

    Raises:
        ValueError: no pairs or no heads, or a number that is not finite.
    """
    values, size = _finite(margins, axes=2), _finite(weights, axes=1)
    together = np.sign(values) @ size / max(float(np.abs(size).sum()), np.finfo(np.float64).tiny)
    return np.asarray((1 - np.square(together)) / 2, dtype=np.float64)


def effective_heads(weights: ArrayLike) -> float:
    """How many heads carry the weight: (sum |w|)^2 / sum w^2, from 1 to K; 1 / sum w^2 for weights of sum 1.

    Args:
        weights: (K,), of any size and sign.

    Raises:
        ValueError: no weights, all of them 0, or one that is not finite.

    >>> effective_heads([0.5, 0.5, 0.0])
    2.0
    """
    values = np.abs(_finite(weights, axes=1))
    if not values.any():
        raise ValueError("an effective number of heads needs a weight other than 0")
    values = values / values.max()  # so that no square is out of range
    return float(values.sum() ** 2 / np.square(values).sum())


def rmse(predictions: ArrayLike, targets: ArrayLike) -> float:
    """The root of the mean squared error of predictions (n,), sqrt(mean (p - y)^2), in the targets' unit.

    Raises:
        ValueError: no values, lengths that differ, or a value that is not finite.
    """
    predicted, actual = _finite(predictions, axes=1), _finite(targets, axes=1)
    if predicted.shape != actual.shape:
        raise ValueError(
            f"predictions and targets must be of one length, not {len(predicted)} and {len(actual)}"
        )
    return math.sqrt(float(np.square(predicted - actual).mean()))


def _finite(values: ArrayLike, axes: int) -> Floats:
    """The values as an array, if it has so many axes, something in it, and only numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise ValueError(f"values must have {axes} axes, not shape {array.shape}")
    if not array.size:
        raise ValueError("a metric needs at least one value")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    return array


# The sections of RewardBench (Lambert et al., 2024), and a section's score from those of its subsets.
#
# A section's score is the share of right pairs over its subsets, but in Reasoning, where mathematics and
# code (over all its languages) count one half each.

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut", "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": (
        "math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust",
    ),
}  # fmt: skip
MATH = "math-prm"


def section_weights(counts: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """What each pair of a subset weighs in its section: section -> subset -> weight, those present only.

    Args:
        counts: subset -> its number of pairs; subsets of no section are left out.

    >>> section_weights({"math-prm": 4, "hep-go": 1, "hep-js": 1})["Reasoning"]
    {'math-prm': 0.125, 'hep-go': 0.25, 'hep-js': 0.25}
    """
    weights = {}
    for section, subsets in SECTIONS.items():
        here = {name: counts[name] for name in subsets if counts.get(name)}
        if not here:
            continue
        total = sum(here.values())
        code = total - here.get(MATH, 0)
        halves = section == "Reasoning" and MATH in here and code > 0
        weights[section] = {
            name: 1 / (2 * (count if name == MATH else code)) if halves else 1 / total
            for name, count in here.items()
        }
    return weights
