"""From tried queries to training data: the SFT target and the preference pairs of one prompt."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Tried:
    """A query, what it earned, the explorer that proposed it, and the phrase it was built around, if any.

    >>> Tried("Anna Berg birthplace", 0.5, "zero-shot").reward
    0.5
    """

    query: str
    reward: float
    explorer: str
    phrase: str | None = None


def distinct(tried: Sequence[Tried]) -> list[Tried]:
    """Each query text once, the first proposal kept; empty queries dropped."""
    first: dict[str, Tried] = {}
    for attempt in tried:
        if attempt.query:
            first.setdefault(attempt.query, attempt)
    return list(first.values())


def best_query(tried: Sequence[Tried], before: float, precedence: Sequence[str]) -> Tried | None:
    """The SFT target: the query with the highest reward, or None where none improved on ``before``.

    The paper leaves ties open. Here they go to the phrase that earned most over all forms in which it was
    tried (alone, with the question ...), since what helps in one form only may be luck; then to the explorer
    that comes first in ``precedence``, the shorter query (in words), and alphabetical order.

    >>> tried = [Tried("Berg", 0.5, "zero-shot"), Tried("Anna Berg", 1.0, "question")]
    >>> best_query(tried, before=0.5, precedence=["zero-shot", "question"]).query
    'Anna Berg'
    """
    candidates = distinct(tried)
    top = max((candidate.reward for candidate in candidates), default=before)
    if top <= before:
        return None
    ranks = {name: rank for rank, name in enumerate(precedence)}
    forms: dict[str, list[float]] = {}
    for candidate in candidates:
        forms.setdefault(_phrase(candidate), []).append(candidate.reward)
    return min(
        (candidate for candidate in candidates if candidate.reward == top),
        key=lambda candidate: (
            -sum(forms[_phrase(candidate)]) / len(forms[_phrase(candidate)]),
            ranks.get(candidate.explorer, len(ranks)),
            len(candidate.query.split()),
            candidate.query,
        ),
    )


def _phrase(tried: Tried) -> str:
    return tried.query if tried.phrase is None else tried.phrase


def preference_pairs(
    tried: Sequence[Tried], limit: int | None = None, seed: int = 0
) -> list[tuple[str, str]]:
    """(chosen, rejected) queries: all cross pairs between *adjacent* distinct reward levels.

    Queries are de-duplicated by text first; a prompt whose queries all tie gives none (LeReT, public code).

    Args:
        limit: keep at most this many, drawn by ``seed``; None keeps all.

    >>> preference_pairs([Tried("a", 1.0, "x"), Tried("b", 0.5, "x"), Tried("c", 0.0, "x")])
    [('a', 'b'), ('b', 'c')]
    """
    candidates = distinct(tried)
    levels = sorted({candidate.reward for candidate in candidates}, reverse=True)
    pairs = [
        (better.query, worse.query)
        for high, low in pairwise(levels)
        for better in candidates
        if better.reward == high
        for worse in candidates
        if worse.reward == low
    ]
    return draw(pairs, limit, seed)


def draw(items: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """All items, or ``limit`` of them drawn by ``seed`` and kept in order."""
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), limit))]
