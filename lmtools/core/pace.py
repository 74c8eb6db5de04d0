"""What stages will take: tokens that a model reads, writes and trains on, and how fast it does each here.

A stage tells its ``Work``. Where a command has timed the model first (``lmtools.generation.pace``) and kept
the ``Pace`` by ``keeping`` it, ``Run.stage`` says beforehand how long it will take.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

CHARACTERS = 4
"""Of a token, about, in text that people write."""


@dataclass(frozen=True)
class Work:
    """Tokens to go through the model: read only, written one by one, or trained on."""

    read: float = 0.0
    written: float = 0.0
    trained: float = 0.0

    def __mul__(self, times: float) -> "Work":
        return Work(self.read * times, self.written * times, self.trained * times)

    def __add__(self, other: "Work") -> "Work":
        return Work(self.read + other.read, self.written + other.written, self.trained + other.trained)


@dataclass(frozen=True)
class Pace:
    """Tokens a second of one model on one machine."""

    read: float
    written: float
    trained: float

    def seconds(self, work: Work) -> float:
        """What work takes.

        >>> Pace(read=200, written=50, trained=100).seconds(Work(read=1000, trained=300))
        8.0
        """
        return work.read / self.read + work.written / self.written + work.trained / self.trained


_kept: list[Pace] = []


@contextmanager
def keeping(pace: Pace | None) -> Iterator[None]:
    """Inside, stages say beforehand what they take at this pace; None: they do not."""
    _kept[:] = [] if pace is None else [pace]
    try:
        yield
    finally:
        _kept.clear()


def foreseen(work: Callable[[], Work] | None) -> float | None:
    """Seconds that work will take; None where no pace is kept, or nobody can tell the work."""
    return _kept[0].seconds(work()) if _kept and work is not None else None


def tokens_in(texts: Sequence[str]) -> float:
    """About how many tokens the texts have, without a tokenizer.

    >>> tokens_in(["Which river?", "The Seine."])
    5.5
    """
    return sum(map(len, texts)) / CHARACTERS


def tokens_after_prefix(texts: Sequence[str]) -> float:
    """The same without what all of them begin with, which is read once.

    >>> tokens_after_prefix(["Question: which river?", "Question: who?"])
    6.0
    """
    first, last = min(texts, default=""), max(texts, default="")
    shared = 0
    while shared < len(first) and first[shared] == last[shared : shared + 1]:
        shared += 1
    return (shared + sum(len(text) - shared for text in texts)) / CHARACTERS
