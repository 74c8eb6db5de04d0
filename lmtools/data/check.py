"""`lmtools data check` and `data prepare`: report on a source, and convert it into JSONL in the contract."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.core.strings import cut, near_miss
from lmtools.data.faults import MAX_NAMES
from lmtools.data.formats import QUESTIONS, READERS, closest, detect, refuse
from lmtools.data.locations import read_source
from lmtools.data.reader import NOUNS, Kind, Reader
from lmtools.data.records import MultipleChoice, Passage, Preference, Question, Record
from lmtools.data.rows import json_object
from lmtools.data.sources import (
    Tally,
    check_questions,
    iter_converted,
    open_source,
    peek,
    read_converted,
    unique_passages,
)
from lmtools.data.terms import TermSplitter, passage_text


@dataclass(frozen=True)
class CheckReport:
    """The verdict on a source without faults: its format, how much of each kind it holds, and remarks."""

    source: str
    format: str
    label: str
    records: int
    questions: int
    passages: int
    instructions: int
    choices: int
    truthful: int
    preferences: int
    remarks: tuple[str, ...]

    def counts(self) -> list[str]:
        """How much there is of what there is: ``500 questions``."""
        counts: dict[Kind, int] = {
            "questions": self.questions, "corpus": self.passages, "instructions": self.instructions,
            "choices": self.choices, "truthful": self.truthful, "preferences": self.preferences,
        }  # fmt: skip
        return [f"{count} {NOUNS[kind]}" for kind, count in counts.items() if count]


def check(source: str, *, corpus: str | None = None) -> CheckReport:
    """Read a source to its end.

    Args:
        corpus: a source of passages in which every gold title of the questions must be found, and which are
            to be searched by words.

    Raises:
        DataError: the format is unknown, records are wrong, gold titles are not in ``corpus``, or nothing
            there has a word to search by; all the faults of a source together, up to 20.
        MachineError: the hub cannot be reached.
    """
    rows, record = peek(read_source(source))
    reader = _reader(source, record)
    tally = Tally()
    records = list(read_converted(reader, rows, reader.makes, tally))
    converted = {kind: list(_converted(reader, kind, records, tally)) for kind in reader.makes}
    unsearchable: list[str] = []
    if corpus is not None:
        questions = cast("list[Question]", converted.get("questions", []))
        if not questions:
            raise DataError(
                f"{source}: {reader.label}: no questions to compare with {corpus}", fix="drop --corpus"
            )
        passages = iter_converted(open_source(corpus, "corpus"), "corpus", Tally())
        unsearchable = _check_corpus(questions, cast("Iterable[Passage]", passages), source, corpus)
    left_out = tuple(f"{count} left out: each {reason}" for reason, count in tally.left_out.items())
    counts = {kind: len(converted_records) for kind, converted_records in converted.items()}
    return CheckReport(
        source=source,
        format=reader.name,
        label=reader.label,
        records=tally.records,
        questions=counts.get("questions", 0),
        passages=counts.get("corpus", 0),
        instructions=counts.get("instructions", 0),
        choices=counts.get("choices", 0),
        truthful=counts.get("truthful", 0),
        preferences=counts.get("preferences", 0),
        remarks=(*_likely_misspelt(record, reader.model), *left_out, *_remarks(converted), *unsearchable),
    )


def _check_corpus(
    questions: Sequence[Question], passages: Iterable[Passage], source: str, corpus: str
) -> list[str]:
    """Look the gold titles up; remark the texts that have no term at BM25's default settings.

    Raises:
        DataError: as ``check_questions`` does, or no question or no passage has a term.
    """
    splitter = TermSplitter()
    titles: set[str] = set()
    count = without = 0
    for passage in passages:
        titles.add(passage.title)
        count += 1
        without += not splitter.terms(passage_text(passage))
    check_questions(questions, titles)
    mute = sum(not splitter.terms(question.question) for question in questions)
    counts = [
        (source, "questions", mute, len(questions), "BM25 finds nothing for them"),
        (corpus, "passages", without, count, "BM25 never finds them"),
    ]
    faults = [
        f"{file}: none of {n} {noun} has a word to search by" for file, noun, few, n, _ in counts if few == n
    ]
    if faults:
        raise DataError("\n  ".join(faults), fix="write texts with words, or search a corpus that has them")
    return [
        f"{few} of {n} {noun} ({few / n:.1%}) have no word to search by: {what}"
        for _, noun, few, n, what in counts
        if few
    ]


def _converted(
    reader: Reader, kind: Kind, records: Sequence[Mapping[Kind, Sequence[Record]]], tally: Tally
) -> Iterable[Record]:
    """The records of a kind; what yields none is counted once, under the first kind."""
    if kind != "corpus" and kind == next(iter(reader.makes)):
        for _ in range(sum(not each[kind] for each in records)):
            tally.leave_out(reader.unused)
    converted = chain.from_iterable(each[kind] for each in records)
    if kind == "corpus" and reader.gathers:
        return unique_passages(cast("Iterable[Passage]", converted), Tally())
    return converted


def _reader(source: str, record: Mapping[str, Any]) -> Reader:
    """The reader that the first record tells; if none fits, the nearest, which says what is missing."""
    if not record:
        return QUESTIONS
    reader = detect(record)
    if reader is None:
        refuse(source, record)
        reader = closest(record)
    if reader is None:
        formats = "; ".join(f"{each.name} ({', '.join(sorted(each.marks))})" for each in READERS)
        named = ", ".join(f"`{cut(field, 40)}`" for field in list(record)[:12])
        raise DataError(
            f"{source}: no known format has the fields {named}",
            fix=f"the formats and what tells them: {formats}",
        )
    return reader


def _likely_misspelt(fields: Collection[str], model: type[BaseModel]) -> list[str]:
    """Unknown fields that look like an optional one that is absent: nothing else would ever tell."""
    names = {name for field, info in model.model_fields.items() for name in names_in_files(field, info)}
    unknown = [field for field in fields if field not in names and field.lstrip("_") not in names][:MAX_NAMES]
    optional = [
        name
        for name, info in model.model_fields.items()
        if not names_in_files(name, info) & set(fields) and not info.is_required()
    ]
    near_misses = [(near_miss(name, unknown, cutoff=0.8), name) for name in optional]
    return [f"`{field}` is ignored; is `{name}` meant?" for field, name in near_misses if field is not None]


def names_in_files(field: str, info: FieldInfo) -> set[str]:
    """The names that a field may have in a file."""
    alias = info.validation_alias
    named = alias.choices if isinstance(alias, AliasChoices) else [alias or field]
    return {name for name in named if isinstance(name, str)}


def _remarks(converted: Mapping[Kind, Sequence[Record]]) -> list[str]:
    """What is allowed and yet worth knowing."""
    questions = cast("Sequence[Question]", converted.get("questions", ()))
    passages = cast("Sequence[Passage]", converted.get("corpus", ()))
    choices = cast("Sequence[MultipleChoice]", converted.get("choices", ()))
    answers = Counter(question.answer for question in choices)
    pairs = [pair.split() for pair in cast("Sequence[Preference]", converted.get("preferences", ()))]
    distinct = set(pairs)
    counts = {
        "questions without gold titles: they teach and measure no retrieval": sum(
            not question.supporting for question in questions
        ),
        "passages whose title another passage has too: either counts as found": len(passages)
        - len({passage.title for passage in passages}),
        "passages without text": sum(not passage.text.strip() for passage in passages),
        "questions with the same choice twice": sum(
            len(set(question.choices)) < len(question.choices) for question in choices
        ),
        "questions, and the right choice always stands in the same place": len(choices)
        * (len(answers) == 1 < len(choices)),
        "pairs that repeat an earlier one": len(pairs) - len(distinct),
        "pairs that another one contradicts": sum((turns, b, a) in distinct for turns, a, b in pairs),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


# Convert any source that lmtools can read into JSONL in the contract.


@dataclass(frozen=True)
class PrepareReport:
    """How many ``records`` were read, how many lines ``written``, and what was ``left_out`` and why."""

    source: str
    format: str
    out: Path
    records: int
    written: int
    left_out: dict[str, int]


def prepare(
    source: str, kind: Kind, out: Path, *, limit: int | None = None, format: str = "auto"
) -> PrepareReport:
    """Write the records of one kind of ``source`` to ``out``, which appears whole or not at all.

    Repeated records and pages are written once. The whole source is checked, also beyond ``limit``.

    Raises:
        DataError: there is no such source, it holds nothing of that kind, or its records are wrong.
        MachineError: ``out`` cannot be written, or the hub cannot be reached.
    """
    opened = open_source(source, kind, format)
    tally = Tally(drop_repeats=True)
    records = _first(iter_converted(opened, kind, tally), limit, tally)
    written = write_jsonl(out, map(json_object, records))
    return PrepareReport(source, opened.reader.name, out, tally.records, written, tally.left_out)


def _first(records: Iterator[Record], limit: int | None, tally: Tally) -> Iterable[Record]:
    """The first ``limit`` records; the rest is still read, so that its faults are found."""
    yield from islice(records, limit)
    for _ in records:
        tally.leave_out("is beyond the limit")
