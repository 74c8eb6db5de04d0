"""The k best of a score vector, exactly, without sorting or partitioning all of it."""

import numpy as np
from numpy.typing import NDArray

GROUPS_PER_HIT = 8


def top_k(scores: NDArray[np.float32], rank: NDArray[np.int32], k: int) -> NDArray[np.intp]:
    """Positions of the ``k`` highest scores above 0, highest first, equal scores by lower ``rank``.

    The same as sorting everything by (-score, rank), also where equal scores straddle the k-th place.

    Args:
        scores: one score per passage, shape [n].
        rank: the place of each passage in the order of ids, shape [n], all different.
        k: how many; fewer come back where fewer scores are above 0.
    """
    if k <= 0:
        return np.empty(0, dtype=np.intp)
    bound = _lower_bound(scores, k)
    candidates = np.flatnonzero(scores >= bound if bound > 0 else scores > 0)
    order = np.lexsort((rank[candidates], -scores[candidates]))
    return candidates[order[:k]]


def _lower_bound(scores: NDArray[np.float32], k: int) -> float:
    """A value that at least ``k`` scores reach: the k-th highest among the maxima of disjoint groups.

    One pass at memory speed; with several groups per hit few other scores lie above it.
    """
    groups = max(GROUPS_PER_HIT * k, 256)
    rows = len(scores) // groups
    if rows < 2:
        return 0.0
    maxima = scores[: rows * groups].reshape(rows, groups).max(axis=0)
    return float(np.partition(maxima, groups - k)[groups - k])
