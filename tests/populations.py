"""Populations with a known mean, to draw samples from: how often do 95 % intervals hold it?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtools.core.intervals import RATE, mean_interval, paired_difference
from lmtools.core.results import Interval

Draw = NDArray[np.float64]
LOWER = 0.1
"""How far the second method's rate lies below the first one's."""
LARGEST = 10
"""Answers to a question, at most: every number from 1 on is as frequent."""
ALIKE = 0.3
"""Intraclass correlation of answers to one question."""


@dataclass(frozen=True)
class Population:
    """``sample(rng, n, resamples)`` is the interval of ``n`` questions drawn at random, around ``truth``."""

    name: str
    truth: float
    sample: Callable[[np.random.Generator, int, int], Interval]


def share(rate: float) -> Population:
    """Independent answers, right or wrong."""
    return Population("share", rate, lambda rng, n, resamples: mean_interval(
        rng.random(n) < rate, None, resamples, int(rng.integers(2**32)), bounds=RATE
    ))  # fmt: skip


def clustered_share(rate: float, alike: float = ALIKE) -> Population:
    """Several answers to each question."""

    def sample(rng: np.random.Generator, n: int, resamples: int) -> Interval:
        questions, chances = _questions(rng, n, rate, alike)
        right = rng.random(len(questions)) < chances[questions]
        return mean_interval(right, questions.tolist(), resamples, int(rng.integers(2**32)), bounds=RATE)

    return Population("share, several answers a question", rate, sample)


def paired_share(rate: float, lower: float = LOWER) -> Population:
    """Two methods on the same questions; three in five they fail on the same ones."""

    def sample(rng: np.random.Generator, n: int, resamples: int) -> Interval:
        a, b = _two(rng, np.full(n, rate), np.full(n, rate - lower))
        return paired_difference(a, b, None, resamples, int(rng.integers(2**32)), bounds=RATE)

    return Population("difference of shares", lower, sample)


def clustered_paired_share(rate: float, lower: float = LOWER) -> Population:
    """Two methods with several answers each to the same questions."""

    def sample(rng: np.random.Generator, n: int, resamples: int) -> Interval:
        questions, chances = _questions(rng, n, rate - lower, ALIKE)
        # What the first method adds is the same share of what the second one leaves.
        more = (1 - chances) * lower / (1 - rate + lower)
        a, b = _two(rng, (chances + more)[questions], chances[questions])
        seed = int(rng.integers(2**32))
        return paired_difference(a, b, questions.tolist(), resamples, seed, bounds=RATE)

    return Population("difference of shares, several answers a question", lower, sample)


def score(rate: float) -> Population:
    """Values between 0 and 1, many of them at the ends, as average precision has them."""
    return Population("score", rate, lambda rng, n, resamples: mean_interval(
        _scores(rng, rate, n), None, resamples, int(rng.integers(2**32)), bounds=RATE
    ))  # fmt: skip


def paired_score(rate: float, lower: float = LOWER) -> Population:
    """Two methods' scores on the same questions; on half of these they are the same."""

    def sample(rng: np.random.Generator, n: int, resamples: int) -> Interval:
        b = _scores(rng, rate - lower, n)
        a = np.where(rng.random(n) < 0.5, b, _scores(rng, min(rate + lower, 1 - 1e-9), n))
        return paired_difference(a, b, None, resamples, int(rng.integers(2**32)), bounds=RATE)

    return Population("difference of scores", (min(rate + lower, 1 - 1e-9) - rate + lower) / 2, sample)


POPULATIONS = (share, clustered_share, paired_share, clustered_paired_share, score, paired_score)


def coverage(population: Population, n: int, samples: int, resamples: int, seed: int) -> tuple[int, float]:
    """In how many samples the interval holds the truth, and how wide it is on average."""
    rng = np.random.default_rng(seed)
    intervals = [population.sample(rng, n, resamples) for _ in range(samples)]
    held = sum(interval.low <= population.truth <= interval.high for interval in intervals)
    return held, float(np.mean([interval.high - interval.low for interval in intervals]))


def _questions(rng: np.random.Generator, n: int, rate: float, alike: float) -> tuple[NDArray[np.intp], Draw]:
    """The question of each answer, and how often each question is answered right."""
    strength = (1 - alike) / alike
    chances = rng.beta(rate * strength, (1 - rate) * strength, n)
    return np.repeat(np.arange(n), rng.integers(1, LARGEST + 1, n)), chances


def _two(rng: np.random.Generator, a: Draw, b: Draw) -> tuple[Draw, Draw]:
    """Whether each method is right, given how often each is."""
    first = rng.random(len(a))
    second = np.where(rng.random(len(a)) < 0.6, first, rng.random(len(a)))
    return (first < a).astype(float), (second < b).astype(float)


def _scores(rng: np.random.Generator, mean: float, n: int) -> Draw:
    return rng.beta(mean, 1 - mean, n)
