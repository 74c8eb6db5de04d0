"""The formats that lmtools reads, and how it tells them apart: by the fields of the records."""

from collections.abc import Collection, Iterable

from lmtools.core.errors import DataError
from lmtools.data.explain import near_miss
from lmtools.data.hotpotqa import HOTPOTQA
from lmtools.data.hover import HOVER
from lmtools.data.musique import MUSIQUE
from lmtools.data.reader import Kind, Reader
from lmtools.data.records import Passage, Question
from lmtools.data.two_wiki import TWO_WIKI


def _itself(record: Question) -> Iterable[Question]:
    return (record,)


def _passage_itself(record: Passage) -> Iterable[Passage]:
    return (record,)


QUESTIONS = Reader(
    "questions", "questions in the lmtools contract", frozenset({"question"}), Question, questions=_itself
)
CORPUS = Reader(
    "corpus",
    "passages in the lmtools contract",
    frozenset({"title", "text"}),
    Passage,
    passages=_passage_itself,
)

READERS: tuple[Reader, ...] = (TWO_WIKI, HOTPOTQA, HOVER, MUSIQUE, CORPUS, QUESTIONS)
"""Tried in this order: a format whose fields include another's stands before it."""


def detect(fields: Collection[str], kind: Kind | None = None) -> Reader | None:
    """The first format all of whose marks are among ``fields``, rather one that makes ``kind``."""
    fitting = [reader for reader in READERS if reader.marks <= set(fields)]
    wanted = [reader for reader in fitting if kind is not None and reader.makes(kind)]
    return next(iter(wanted or fitting), None)


def closest(fields: Collection[str]) -> Reader | None:
    """The format of whose marks ``fields`` has the largest part, misspelt ones included, for the message."""

    def share(reader: Reader) -> float:
        found = [near_miss(mark, fields, cutoff=0.8) for mark in reader.marks]
        return sum(field is not None for field in found) / len(found)

    best = max(READERS, key=share)
    return best if share(best) > 0 else None


def by_name(name: str) -> Reader:
    """The format of that name.

    Raises:
        DataError: there is none.
    """
    for reader in READERS:
        if reader.name == name:
            return reader
    known = ", ".join(reader.name for reader in READERS)
    raise DataError(f"unknown format {name!r}", fix=f"one of {known}")
