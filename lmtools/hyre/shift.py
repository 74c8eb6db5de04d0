"""A table cut in two along one feature: a model learns from the lower part, and is asked about the upper one.

It is the feature that says most about the target, so that what was learned has to carry on beyond what was
seen, and heads that agree below the cut come apart above it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lmtools.data.tabular import Table
from lmtools.hyre.reweighting import Floats


def shifted(table: Table, share: float) -> tuple[int, NDArray[np.bool_]]:
    """Which feature is cut, and which rows lie at or below the cut: (n,).

    The feature has the largest rank correlation with the target, either way. The cut is the one of its values
    for which the share of rows at or below it is nearest to ``share``, so that equal values stay on one side.
    A feature of two values would be constant below the cut, where nothing could be learned of it: it is cut
    only if no other feature has more.

    Args:
        share: of the rows, in (0, 1).

    Raises:
        ValueError: no feature has two values.
    """
    different = np.array([len(np.unique(column)) for column in table.features.T])
    if not (different > 1).any():
        raise ValueError("no feature has two values")
    usable = different > (2 if (different > 2).any() else 1)
    strength = np.abs(rank_correlations(table.features, table.target))
    feature = int(np.argmax(np.where(usable, strength, -1.0)))
    column = table.features[:, feature]
    values, counts = np.unique(column, return_counts=True)
    # Neither all rows nor, where that can be, only those of the lowest value.
    first = min(1, len(values) - 2)
    below = np.cumsum(counts)[first:-1] / len(column)
    return feature, column <= values[first + int(np.argmin(np.abs(below - share)))]


def rank_correlations(features: NDArray[Any], target: NDArray[Any]) -> Floats:
    """Spearman's correlation of each feature with the target: (n, F) and (n,) to (F,); 0 for constants."""
    ranks = rankdata(np.column_stack([features, target]), axis=0)
    centred = ranks - ranks.mean(axis=0)
    length = np.sqrt(np.square(centred).sum(axis=0))
    return np.asarray(
        centred[:, :-1].T @ centred[:, -1] / np.maximum(length[:-1] * length[-1], 1e-12), dtype=np.float64
    )
