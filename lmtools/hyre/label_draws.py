"""Random choices of labelled examples: those a user labels, and those that are only ever tested on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError
from lmtools.core.seeds import derive

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Draw:
    """One choice: ``pool``, whose first N are the N labelled examples, and ``test``, which shares none."""

    pool: Indices
    test: Indices


def draws(keys: Sequence[str], count: int, holdout: float, seed: int, name: str) -> list[Draw]:
    """``count`` choices of a target's examples, the same for the same seed and target.

    Pairs of one key are the same pair, and stay on one side.

    Args:
        keys: of each example: (n,).
        holdout: the share that is tested on.
        name: of the target.

    Raises:
        DataError: fewer than two different examples.
    """
    different = list(dict.fromkeys(keys))
    if len(different) < 2:
        raise DataError(
            f"{name}: {len(different)} pair, too few to adapt on one and to test on another",
            fix="give more pairs of this user, or leave the target out",
        )
    copies: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        copies.setdefault(key, []).append(index)
    tested = min(len(different) - 1, max(1, round(len(different) * holdout)))
    choices = []
    for draw in range(count):
        order = np.random.default_rng(derive(seed, "draw", name, draw)).permutation(len(different))
        test, pool = ([copies[different[i]] for i in part] for part in (order[:tested], order[tested:]))
        # Of a pair that is there twice, a user would label one copy.
        choices.append(Draw(_flat([group[:1] for group in pool]), np.sort(_flat(test))))
    return choices


def _flat(groups: Sequence[Sequence[int]]) -> Indices:
    return np.array([index for group in groups for index in group], dtype=np.intp)
