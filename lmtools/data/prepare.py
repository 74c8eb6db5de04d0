"""Convert any source that lmtools can read into JSONL in the contract."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import BaseModel

from lmtools.core.files import write_jsonl
from lmtools.data.jsonl import json_object
from lmtools.data.open import iter_passages, iter_questions, open_source
from lmtools.data.reader import Kind, Tally


@dataclass(frozen=True)
class Prepared:
    """How many ``records`` were read, how many lines ``written``, and what was ``left_out`` and why."""

    source: str
    format: str
    out: Path
    records: int
    written: int
    left_out: dict[str, int]


def prepare(
    source: str, kind: Kind, out: Path, *, limit: int | None = None, format: str = "auto"
) -> Prepared:
    """Write the questions or the corpus of ``source`` to ``out``, which appears whole or not at all.

    Repeated records and pages are written once. The whole source is checked, also beyond ``limit``.

    Raises:
        DataError: there is no such source, it holds nothing of that kind, or its records are wrong.
        MachineError: ``out`` cannot be written, or the hub cannot be reached.
    """
    opened = open_source(source, kind, format)
    tally = Tally(drop_repeats=True)
    found: Iterator[BaseModel]
    found = iter_questions(opened, tally) if kind == "questions" else iter_passages(opened, tally)
    written = write_jsonl(out, map(json_object, _first(found, limit, tally)))
    return Prepared(source, opened.reader.name, out, tally.records, written, tally.left_out)


def _first(records: Iterator[BaseModel], limit: int | None, tally: Tally) -> Iterable[BaseModel]:
    """The first ``limit`` records; the rest is still read, so that its faults are found."""
    yield from islice(records, limit)
    for _ in records:
        tally.leave_out("is beyond the limit")
