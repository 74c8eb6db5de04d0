"""A source opened: its format found by the fields of its first record, its records made one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import cast

from lmtools.core.errors import DataError
from lmtools.data.formats import CONTRACTS, CORPUS, by_name, detect
from lmtools.data.jsonl import iter_records
from lmtools.data.places import read_source
from lmtools.data.reader import EXAMPLES, NOUNS, Kind, Reader, Tally, itself, read_originals, unique_passages
from lmtools.data.records import Passage, Record
from lmtools.data.rows import Row, Rows


@dataclass(frozen=True)
class Opened:
    """A source whose format is known: its rows, to be read once, and their reader."""

    rows: Rows
    reader: Reader


def open_source(source: str, kind: Kind, format: str = "auto") -> Opened:
    """Open a source and find its reader: where no format fits, the contract's, which says what is missing.

    Raises:
        DataError: there is no such source, or its format holds nothing of that kind.
        MachineError: the hub cannot be reached.
    """
    rows, first = peek(read_source(source))
    record = first.value if first is not None and isinstance(first.value, dict) else {}
    reader = by_name(format) if format != "auto" else detect(record, kind) or CONTRACTS[kind]
    if kind not in reader.makes:
        wanted = NOUNS[kind]
        raise DataError(
            f"{source}: {reader.label}: no {wanted} in it",
            fix=f"give {wanted}, on each line {EXAMPLES[kind]}",
        )
    return Opened(rows, reader)


def peek(rows: Rows) -> tuple[Rows, Row | None]:
    """The same rows, and the first of them that could be read."""
    iterator = iter(rows.rows)
    read: list[Row] = []
    for row in iterator:
        read.append(row)
        if not row.faults:
            break
    found = read[-1] if read and not read[-1].faults else None
    return replace(rows, rows=chain(read, iterator)), found


def iter_made(opened: Opened, kind: Kind, tally: Tally) -> Iterator[Record]:
    """The records of a kind one by one; faults are raised after the last, so use them only then."""
    reader, jsonl = opened.reader, opened.rows.jsonl
    if reader is CONTRACTS[kind] and reader.makes[kind] is itself and jsonl and not tally.drop_repeats:
        yield from iter_records(jsonl, cast("type[Record]", reader.model))  # several times faster
        return
    made = _make(opened, kind, tally)
    if kind == "corpus" and reader is not CORPUS:
        yield from unique_passages(cast("Iterator[Passage]", made), tally)
    else:
        yield from made


def _make(opened: Opened, kind: Kind, tally: Tally) -> Iterator[Record]:
    convert = opened.reader.makes[kind]
    for record in read_originals(opened.reader, opened.rows, tally):
        made = list(convert(record))
        if not made and kind != "corpus":
            tally.leave_out(opened.reader.unused)
        yield from made


def iter_passages(opened: Opened, tally: Tally) -> Iterator[Passage]:
    """The passages one by one, as ``iter_made`` does."""
    return cast("Iterator[Passage]", iter_made(opened, "corpus", tally))
