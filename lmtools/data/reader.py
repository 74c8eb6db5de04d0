"""What a reader of a format is: a model of its records, and how one becomes records of our contracts.

A new format is a file with a pydantic model of the original record, a function or two, and a ``Reader`` that
``lmtools.data.formats`` lists.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from lmtools.core.errors import DataError
from lmtools.data.faults import Fault, Faults, explain_value, text_faults
from lmtools.data.records import Passage, Record
from lmtools.data.rows import Rows

Kind = Literal["questions", "corpus", "instructions", "choices", "truthful", "preferences"]
"""What can be made of a source, as ``--to`` names it."""
NOUNS: Mapping[Kind, str] = {
    "questions": "questions",
    "corpus": "passages",
    "instructions": "instructions",
    "choices": "multiple-choice questions",
    "truthful": "questions with false answers",
    "preferences": "preference pairs",
}
"""What a source of each kind holds, in messages."""


EXAMPLES: Mapping[Kind, str] = {
    "questions": '{"id": "1", "question": "...", "answer": "...", "supporting": ["TITLE", "TITLE"]}',
    "corpus": '{"id": "1", "title": "...", "text": "..."}',
    "instructions": '{"prompt": "...", "completion": "..."}',
    "choices": '{"id": "1", "question": "...", "choices": ["...", "..."], "answer": 0}',
    "truthful": '{"id": "1", "question": "...", "answer": "...", "incorrect": ["..."]}',
    "preferences": '{"prompt": "...", "chosen": "...", "rejected": "..."}',
}
"""A line of each kind in lmtools' own form, in messages."""


def any_values(record: Mapping[str, Any]) -> bool:
    """What tells a format whose fields alone are enough."""
    return True


@dataclass(frozen=True)
class Reader:
    """A format: its name, the fields it is known by, its record, and what can be made of a record.

    A function of ``makes`` may yield nothing for a record that is of no use; ``unused`` says why, in the
    words that follow "it". ``looks`` tells formats of the same fields apart by the values of a record.
    """

    name: str
    label: str
    marks: frozenset[str]
    model: type[BaseModel]
    makes: Mapping[Kind, Callable[[Any], Iterable[Record]]]
    unused: str = "is unanswerable"
    looks: Callable[[Mapping[str, Any]], bool] = any_values


def itself(record: Record) -> Iterable[Record]:
    """What a format in one of our contracts makes of a record."""
    return (record,)


@dataclass
class Tally:
    """How many records were read, and how many of what was left out, by reason.

    With ``drop_repeats`` a record that repeats an earlier one in every field is left out; otherwise its id is
    used twice, which is a fault. An empty id is none: such a record is told by its content.
    """

    drop_repeats: bool = False
    records: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count one more."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def read_originals(reader: Reader, rows: Rows, tally: Tally) -> Iterator[Any]:
    """The validated records of ``reader.model``.

    Raises:
        BrokenRecordsError: a row is no such record, or an id is used twice (raised after the last row).
        DataError: there is no row.
    """
    faults = Faults(rows.place, rows.unit)
    seen: dict[str, int] = {}
    with_id = "id" in reader.model.model_fields or hasattr(reader.model, "id")
    for row in rows.rows:
        tally.records += 1
        record = None if row.faults else _validated(reader.model, row.value)
        if record is None:
            unreadable = Fault(row.number, "", f"no record of {reader.label}", "compare it with the others")
            found = row.faults or explain_value(row.number, row.value, reader.model) or [unreadable]
            faults.add(replace(fault, file=row.file) for fault in found)
            continue
        if with_id:
            id: str = getattr(record, "id")  # noqa: B009  (not every record has one)
            told_by = id or f"#{hash(record)}"
            if tally.drop_repeats and seen.get(told_by) == hash(record):
                tally.leave_out("repeats an earlier record")
                continue
            if id:
                faults.see_id(row.number, id, row.file)
            if tally.drop_repeats:
                seen[told_by] = hash(record)
        yield record
    faults.check()
    if not tally.records:
        raise DataError(
            f"{rows.place}: empty: it holds no record", fix="give a source with at least one record"
        )


def _validated(model: type[BaseModel], value: Any) -> BaseModel | None:
    try:
        return None if any(text_faults("", value)) else model.model_validate(value)
    except (ValidationError, RecursionError):
        return None


def unique_passages(passages: Iterable[Passage], tally: Tally) -> Iterator[Passage]:
    """Passages gathered from the contexts of many questions: each once, its id made from its title.

    Pages of one title with different texts become ``TITLE``, ``TITLE #2``, ...
    """
    texts: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for passage in passages:
        content = (passage.title, passage.text)
        if content in texts:
            tally.leave_out("repeats an earlier passage")
            continue
        texts.add(content)
        id, number = passage.title or "untitled", 1
        while id in ids:
            number += 1
            id = f"{passage.title or 'untitled'} #{number}"
        ids.add(id)
        yield passage.model_copy(update={"id": id})
