"""How the weight of an ensemble is shared among its heads and the sources they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lmtools.metrics.preference import Floats, effective_heads

NAMED = 5
"""How many of the heaviest heads are named beside the shares."""


@dataclass(frozen=True)
class Group:
    """The heads of one source: their places in the ensemble; ``turn`` is the source's number."""

    name: str
    places: tuple[int, ...]
    turn: int


@dataclass(frozen=True)
class Area:
    """Part of all weight, ``share`` (N + 1,): of one head, ``alone``, or of the others of its group."""

    name: str
    share: Floats
    group: Group
    alone: bool


def groups(sources: Sequence[str]) -> list[Group]:
    """Heads by source (K,), in order of first appearance."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(sources):
        places.setdefault(name, []).append(place)
    return [Group(name, tuple(own), turn) for turn, (name, own) in enumerate(places.items())]


def areas(history: ArrayLike, sources: Sequence[str]) -> list[Area]:
    """Source by source, the heads that are heaviest at the end, then the source's others; all sum to 1.

    Args:
        history: (N + 1, K), the weights before any label, after the first, ... after the last. Of weights
            that may be negative the size counts; where no head is heard, all are alike.
        sources: (K,).
    """
    size = np.abs(np.asarray(history, dtype=np.float64))
    size[~size.any(axis=1)] = 1.0
    share = size / size.sum(axis=1, keepdims=True)
    top = set(np.argsort(-share[-1], kind="stable")[:NAMED].tolist())
    found = []
    for group in groups(sources):
        own = sorted(top & set(group.places), key=lambda place: -share[-1, place])
        found += [Area(f"{group.name}/{place}", share[:, place], group, True) for place in own]
        if rest := [place for place in group.places if place not in top]:
            name = f"{group.name}, other" if own else group.name
            found.append(Area(name, share[:, rest].sum(axis=1), group, False))
    return found


def heard(weights: Floats) -> float:
    """Effective heads; all of them where none is heard."""
    return effective_heads(weights) if weights.any() else float(len(weights))
