"""Choices that look random and are the same everywhere: order by SHA-256 of a seed and the item."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from lmtools.core.files import sha256_text

Item = TypeVar("Item")
SEED = "atlas-1"


def rank(*parts: object) -> str:
    """A fixed pseudo-random key of the parts, for sorting."""
    return sha256_text("|".join([SEED, *map(str, parts)]))


def pick(options: Sequence[Item], *parts: object) -> Item:
    """One of the options, decided by the parts alone."""
    return options[int(rank(*parts)[:12], 16) % len(options)]


def shuffled(items: Iterable[Item], *parts: object) -> list[Item]:
    """The items in a fixed pseudo-random order; items must have distinct ``str``."""
    return sorted(items, key=lambda item: rank(*parts, item))


def sample(items: Iterable[Item], count: int, *parts: object) -> list[Item]:
    """At most ``count`` of the items, in a fixed pseudo-random order."""
    return shuffled(items, *parts)[:count]
