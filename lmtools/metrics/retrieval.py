"""How good a ranking is, given which titles are gold: pure functions on lists of titles.

Everywhere, ``retrieved`` is best first, and a title counts at its first occurrence only: a second passage of
the same page is not a second success, and takes no place in the ranking. ``gold`` is treated as a set.
All values lie in [0, 1]; an empty ``gold`` is a ValueError, since nothing could be found.
"""

import math
from collections.abc import Collection, Sequence


def recall(retrieved: Sequence[str], gold: Collection[str]) -> float:
    """The share of gold titles that were retrieved: ``|retrieved & gold| / |gold|``.

    >>> recall(["Lund", "Oslo"], gold=["Anna Berg", "Lund"])
    0.5
    """
    gold_titles = _gold_set(gold)
    return len(gold_titles.intersection(retrieved)) / len(gold_titles)


def hop_of(metric: str) -> int:
    """The hop whose passages a metric is of; 0 where it is of none.

    >>> hop_of("bridge/recall@hop2"), hop_of("accuracy")
    (2, 0)
    """
    number = metric.rpartition("@hop")[2]
    return int(number) if "@hop" in metric and number.isdecimal() else 0


def average_precision(retrieved: Sequence[str], gold: Collection[str]) -> float:
    """LeReT's reward: ``sum(precision@i for every i with a gold title) / |gold|``.

    ``precision@i`` is the share of gold titles among the first ``i``. With gold titles A and B: ``[A, B]``
    gives 1, ``[A, x, B]`` (1/1 + 2/3) / 2 = .833, ``[x, A, B]`` (1/2 + 2/3) / 2 = .583, ``[A]`` .5.

    >>> average_precision(["Lund", "Oslo"], gold=["Anna Berg", "Lund"])
    0.5
    """
    gold_titles = _gold_set(gold)
    hits, total = 0, 0.0
    for rank, title in enumerate(_distinct(retrieved), start=1):
        if title in gold_titles:
            hits += 1
            total += hits / rank
    return total / len(gold_titles)


def ndcg(retrieved: Sequence[str], gold: Collection[str], k: int) -> float:
    """Normalised discounted cumulative gain of the first ``k`` different titles, relevance 0 or 1.

    ``DCG = sum(1 / log2(i + 1))`` over the places i of gold titles, divided by the DCG of ``min(k, |gold|)``
    gold titles at the top.

    >>> round(ndcg(["Oslo", "Lund"], gold=["Lund"], k=2), 3)
    0.631
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    gold_titles = _gold_set(gold)
    ranks = [rank for rank, title in enumerate(_distinct(retrieved)[:k], start=1) if title in gold_titles]
    return _discounted(ranks) / _discounted(range(1, min(k, len(gold_titles)) + 1))


def _gold_set(gold: Collection[str]) -> frozenset[str]:
    if isinstance(gold, str):
        raise TypeError(f"gold is a collection of titles, not the one title {gold!r}")
    if not gold:
        raise ValueError("no gold titles: the metric is undefined for a question without gold")
    return frozenset(gold)


def _distinct(titles: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(titles))


def _discounted(ranks: Sequence[int]) -> float:
    return math.fsum(1 / math.log2(rank + 1) for rank in ranks)
