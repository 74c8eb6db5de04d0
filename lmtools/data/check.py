"""What a data source is, and what is wrong with it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

from pydantic import BaseModel

from lmtools.core.errors import DataError
from lmtools.data.explain import near_miss
from lmtools.data.formats import QUESTIONS, READERS, closest, detect
from lmtools.data.gold import check_questions
from lmtools.data.open import iter_passages, open_source, peek
from lmtools.data.places import read_source
from lmtools.data.reader import Reader, Tally, read_originals, unique_passages
from lmtools.data.records import Passage, Question
from lmtools.data.rows import Row


@dataclass(frozen=True)
class Checked:
    """The verdict on a source without faults: its format, how much it holds, and remarks."""

    source: str
    format: str
    label: str
    records: int
    questions: int
    passages: int
    remarks: tuple[str, ...]


def check(source: str, *, corpus: str | None = None) -> Checked:
    """Read a source to its end.

    Args:
        corpus: a source of passages in which every gold title of the questions must be found.

    Raises:
        DataError: the format is unknown, records are wrong, or gold titles are not in ``corpus``; all the
            faults of a source together, up to 20.
        MachineError: the hub cannot be reached.
    """
    rows, first = peek(read_source(source))
    fields = list(first.value) if first is not None and isinstance(first.value, dict) else []
    reader = _reader(source, first, fields)
    tally = Tally()
    records = list(read_originals(reader, rows, tally))
    questions = list(chain.from_iterable(map(reader.questions, records))) if reader.questions else []
    contexts = chain.from_iterable(map(reader.passages, records)) if reader.passages else ()
    passages = list(contexts if reader.model is Passage else unique_passages(contexts, Tally()))
    if corpus is not None:
        if not questions:
            raise DataError(
                f"{source}: {reader.label}: no questions to compare with {corpus}", fix="drop --corpus"
            )
        titles = (passage.title for passage in iter_passages(open_source(corpus, "corpus"), Tally()))
        check_questions(questions, titles)
    remarks = (*_likely_misspelt(fields, reader.model), *_about(questions, passages))
    return Checked(source, reader.name, reader.label, tally.records, len(questions), len(passages), remarks)


def _reader(source: str, first: Row | None, fields: Sequence[str]) -> Reader:
    """The reader by the fields of the first record; if none fits, the nearest, which says what is missing."""
    if first is None or fields == []:
        return QUESTIONS
    reader = detect(fields) or closest(fields)
    if reader is None:
        known = "; ".join(f"{each.name} ({', '.join(sorted(each.marks))})" for each in READERS)
        named = ", ".join(f"`{field}`" for field in fields[:12])
        raise DataError(
            f"{source}: no known format has the fields {named}",
            fix=f"the formats and what tells them: {known}",
        )
    return reader


def _likely_misspelt(fields: Collection[str], model: type[BaseModel]) -> list[str]:
    """Unknown fields that look like an optional one that is absent: nothing else would ever tell."""
    known = set(model.model_fields)
    unknown = [field for field in fields if field not in known and field.lstrip("_") not in known]
    optional = [
        name for name, field in model.model_fields.items() if name not in fields and not field.is_required()
    ]
    found = [(near_miss(name, unknown, cutoff=0.8), name) for name in optional]
    return [f"`{field}` is ignored; is `{name}` meant?" for field, name in found if field is not None]


def _about(questions: list[Question], passages: list[Passage]) -> list[str]:
    """What is allowed and yet worth knowing."""
    bare = sum(not question.supporting for question in questions)
    repeated = len(passages) - len({passage.title for passage in passages})
    empty = sum(not passage.text.strip() for passage in passages)
    counts = {
        "questions without gold titles: they teach and measure no retrieval": bare,
        "passages whose title another passage has too: either counts as found": repeated,
        "passages without text": empty,
    }
    return [f"{count} {what}" for what, count in counts.items() if count]
