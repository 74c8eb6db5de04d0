"""Records of a source, read whole and checked; what a source may be: ``lmtools.data.places``."""

from pathlib import Path
from typing import TypeVar, cast

from lmtools.core.files import write_jsonl
from lmtools.core.paths import cache_dir
from lmtools.data.formats import CORPUS
from lmtools.data.gold import check_questions
from lmtools.data.hub import PREFIX
from lmtools.data.jsonl import json_object
from lmtools.data.open import iter_made, open_source
from lmtools.data.places import source_hash, source_path
from lmtools.data.raw import BOM
from lmtools.data.reader import Kind, Tally
from lmtools.data.records import (
    Instruction,
    MultipleChoice,
    Passage,
    Preference,
    Question,
    Record,
    TruthfulQuestion,
)

__all__ = [
    "check_questions",
    "corpus_file",
    "load_choices",
    "load_instructions",
    "load_passages",
    "load_preferences",
    "load_questions",
    "load_targets",
    "load_truthful",
    "source_hash",
]

Made = TypeVar("Made", bound=Record)


def load_questions(source: str, *, limit: int | None = None, format: str = "auto") -> list[Question]:
    """The questions of a source, in order; all are checked, then ``limit`` keeps the first so many.

    Args:
        format: the name of a format (``lmtools.data.formats``); ``auto`` tells it by the records' fields.

    Raises:
        DataError: there is no such source, it holds no questions, or its records are wrong.
        MachineError: the hub cannot be reached.
    """
    return _load(source, "questions", Question, format)[:limit]


def load_passages(source: str, *, format: str = "auto") -> list[Passage]:
    """The passages of a source, in order; of original files the contexts, each page once.

    Raises as ``load_questions`` does.
    """
    return _load(source, "corpus", Passage, format)


def load_instructions(source: str, *, limit: int | None = None, format: str = "auto") -> list[Instruction]:
    """The instructions of a source with their answers, in order; arguments and errors as ``load_questions``.

    Alpaca's records without an output are left out.
    """
    return _load(source, "instructions", Instruction, format)[:limit]


def load_choices(source: str, *, limit: int | None = None, format: str = "auto") -> list[MultipleChoice]:
    """The multiple-choice questions of a source, in order; arguments and errors as ``load_questions``.

    Of a folder in MMLU's form, those of all its tables by name.
    """
    return _load(source, "choices", MultipleChoice, format)[:limit]


def load_truthful(source: str, *, limit: int | None = None, format: str = "auto") -> list[TruthfulQuestion]:
    """The questions of a source that has false answers too; arguments and errors as ``load_questions``."""
    return _load(source, "truthful", TruthfulQuestion, format)[:limit]


def load_preferences(
    source: str, *, limit: int | None = None, format: str = "auto", tally: Tally | None = None
) -> list[Preference]:
    """The preference pairs of a source, in order; arguments and errors as ``load_questions``.

    Pairs with the same answer twice, or an empty one, are left out. Of a folder of JSONL files the pairs of
    all of them by name, the name of each file their distribution.

    Args:
        tally: counts the records, and what was left out of them and why.
    """
    return _load(source, "preferences", Preference, format, tally)[:limit]


def load_targets(
    source: str, *, format: str = "auto", tally: Tally | None = None
) -> dict[str, list[Preference]]:
    """The pairs of each distribution of a source: of a folder of JSONL files by their names, else as told by
    the records; those that tell none by the name of the source.

    Arguments and errors as ``load_preferences``.
    """
    name = source if source.startswith(PREFIX) else source_path(source).name.partition(".")[0]
    found: dict[str, list[Preference]] = {}
    for pair in load_preferences(source, format=format, tally=tally):
        found.setdefault(pair.distribution or name, []).append(pair)
    return found


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
        write_jsonl(converted, map(json_object, iter_made(opened, "corpus", Tally())))
    return converted


def _load(source: str, kind: Kind, record: type[Made], format: str, tally: Tally | None = None) -> list[Made]:
    """Every record of a kind, whose type the kind decides."""
    return cast("list[Made]", list(iter_made(open_source(source, kind, format), kind, tally or Tally())))


def _wrapped(path: Path) -> bool:
    """Whether a file is more than its lines: compressed, or opened by a byte order mark."""
    with path.open("rb") as stream:
        return stream.read(3).startswith((b"\x1f\x8b", BOM))
