"""A source opened: its format found by the fields of its first record, its records made one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from lmtools.core.errors import DataError
from lmtools.data.formats import CORPUS, QUESTIONS, by_name, detect
from lmtools.data.jsonl import iter_records
from lmtools.data.places import read_source
from lmtools.data.reader import Kind, Reader, Tally, read_originals, unique_passages
from lmtools.data.records import Passage, Question
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
    fields = first.value.keys() if first is not None and isinstance(first.value, dict) else ()
    contract = QUESTIONS if kind == "questions" else CORPUS
    reader = by_name(format) if format != "auto" else detect(fields, kind) or contract
    if not reader.makes(kind):
        wanted = "questions" if kind == "questions" else "passages"
        raise DataError(
            f"{source}: {reader.label}: no {wanted} in it", fix=f"give a source that holds {wanted}"
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


def iter_questions(opened: Opened, tally: Tally) -> Iterator[Question]:
    """The questions one by one; faults are raised after the last, so use them only then."""
    convert = opened.reader.questions
    if opened.reader is QUESTIONS and opened.rows.jsonl is not None and not tally.drop_repeats:
        yield from iter_records(opened.rows.jsonl, Question)
    elif convert is not None:
        for record in read_originals(opened.reader, opened.rows, tally):
            made = list(convert(record))
            if not made:
                tally.leave_out("is unanswerable")
            yield from made


def iter_passages(opened: Opened, tally: Tally) -> Iterator[Passage]:
    """The passages one by one; faults are raised after the last, so use them only then."""
    convert = opened.reader.passages
    if opened.reader is CORPUS and opened.rows.jsonl is not None and not tally.drop_repeats:
        yield from iter_records(opened.rows.jsonl, Passage)
    elif convert is not None:
        records = read_originals(opened.reader, opened.rows, tally)
        made = (passage for record in records for passage in convert(record))
        yield from made if opened.reader is CORPUS else unique_passages(made, tally)
