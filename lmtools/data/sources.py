"""Records of a source, read whole and checked; what a source may be: ``lmtools.data.places``."""

from pathlib import Path

from lmtools.core.files import write_jsonl
from lmtools.core.paths import cache_dir
from lmtools.data.formats import CORPUS
from lmtools.data.gold import check_questions
from lmtools.data.jsonl import json_object
from lmtools.data.open import iter_passages, iter_questions, open_source
from lmtools.data.places import source_hash
from lmtools.data.raw import BOM
from lmtools.data.reader import Tally
from lmtools.data.records import Passage, Question

__all__ = ["check_questions", "corpus_file", "load_passages", "load_questions", "source_hash"]


def load_questions(source: str, *, limit: int | None = None, format: str = "auto") -> list[Question]:
    """The questions of a source, in order; all are checked, then ``limit`` keeps the first so many.

    Args:
        format: the name of a format (``lmtools.data.formats``); ``auto`` tells it by the records' fields.

    Raises:
        DataError: there is no such source, it holds no questions, or its records are wrong.
        MachineError: the hub cannot be reached.
    """
    return list(iter_questions(open_source(source, "questions", format), Tally()))[:limit]


def load_passages(source: str, *, format: str = "auto") -> list[Passage]:
    """The passages of a source, in order; of original files the contexts, each page once.

    Raises as ``load_questions`` does.
    """
    return list(iter_passages(open_source(source, "corpus", format), Tally()))


def corpus_file(source: str) -> Path:
    """The passages of a source as a plain JSONL file, for retrievers that map it into memory.

    A file in that form is returned as it is, unread; anything else is converted once, in the cache.

    Raises as ``load_questions`` does.
    """
    opened = open_source(source, "corpus")
    path = opened.rows.jsonl
    if path is not None and opened.reader is CORPUS and not _wrapped(path):
        return path
    converted = cache_dir("corpora", f"{source_hash(source)[:32]}.jsonl")
    if not converted.exists():
        write_jsonl(converted, map(json_object, iter_passages(opened, Tally())))
    return converted


def _wrapped(path: Path) -> bool:
    """Whether a file is more than its lines: compressed, or opened by a byte order mark."""
    with path.open("rb") as stream:
        return stream.read(3).startswith((b"\x1f\x8b", BOM))
