"""Convert any source that lmtools can read into JSONL in the contract."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lmtools.core.files import write_jsonl
from lmtools.data.jsonl import json_object
from lmtools.data.open import iter_made, open_source
from lmtools.data.reader import Kind, Tally
from lmtools.data.records import Record


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
    """Write the records of one kind of ``source`` to ``out``, which appears whole or not at all.

    Repeated records and pages are written once. The whole source is checked, also beyond ``limit``.

    Raises:
        DataError: there is no such source, it holds nothing of that kind, or its records are wrong.
        MachineError: ``out`` cannot be written, or the hub cannot be reached.
    """
    opened = open_source(source, kind, format)
    tally = Tally(drop_repeats=True)
    found = _first(iter_made(opened, kind, tally), limit, tally)
    written = write_jsonl(out, map(json_object, found))
    return Prepared(source, opened.reader.name, out, tally.records, written, tally.left_out)


def _first(records: Iterator[Record], limit: int | None, tally: Tally) -> Iterable[Record]:
    """The first ``limit`` records; the rest is still read, so that its faults are found."""
    yield from islice(records, limit)
    for _ in records:
        tally.leave_out("is beyond the limit")
