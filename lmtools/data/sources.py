"""Records of a source, read whole and checked: ``load_questions`` and its siblings, which the systems call.

    source -> rows (``lmtools.data.locations``) -> reader (``lmtools.data.formats``) -> records

A source is read to its end before anything is returned, and all its faults, up to 20, are one error.
"""

import difflib
import html
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from lmtools.core.errors import DataError
from lmtools.core.files import cache_dir, write_jsonl
from lmtools.data.faults import MAX_SHOWN, Fault, Faults, explain_value, text_faults, translate
from lmtools.data.formats import CONTRACTS, CORPUS, by_name, closest, detect, refuse
from lmtools.data.locations import HUB_PREFIX, read_source, source_hash, source_path
from lmtools.data.reader import EXAMPLES, NOUNS, Kind, Reader, unchanged
from lmtools.data.records import (
    Instruction,
    MultipleChoice,
    Passage,
    Preference,
    Question,
    Record,
    TruthfulQuestion,
)
from lmtools.data.rows import Row, Rows, iter_records, json_object
from lmtools.data.stream import is_plain

__all__ = [
    "Tally",
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

R = TypeVar("R", bound=Record)
MAX_CANDIDATES = 2000
"""Titles compared letter by letter with a missing one; bounds the time on corpora of millions."""

# A source opened: its format is told by the fields of its first record.


@dataclass(frozen=True)
class OpenedSource:
    """A source whose format is known: its rows, to be read once, and their reader."""

    rows: Rows
    reader: Reader


def open_source(source: str, kind: Kind, format: str = "auto") -> OpenedSource:
    """Open a source and find its reader: where no format fits, the nearest, which says what is missing.

    Raises:
        DataError: there is no such source, or its format holds nothing of that kind.
        MachineError: the hub cannot be reached.
    """
    rows, record = peek(read_source(source))
    reader = by_name(format) if format != "auto" else detect(record, kind)
    if reader is None:
        refuse(source, record)
        near = closest(record)  # as the check does
        reader = near if near is not None and kind in near.makes else CONTRACTS[kind]
    if kind not in reader.makes:
        noun = NOUNS[kind]
        raise DataError(
            f"{source}: {reader.label}: no {noun} in it",
            fix=f"give {noun}, on each line {EXAMPLES[kind]}",
        )
    return OpenedSource(rows, reader)


def peek(rows: Rows) -> tuple[Rows, Mapping[str, Any]]:
    """The same rows, and the first of them that is an object; empty if the first readable row is none."""
    iterator = iter(rows.rows)
    read: list[Row] = []
    for row in iterator:
        read.append(row)
        if not row.faults or len(read) > MAX_SHOWN:
            break
    first = read[-1].value if read and not read[-1].faults else None
    return replace(rows, rows=chain(read, iterator)), first if isinstance(first, dict) else {}


# From rows to records of our contracts, one by one.


@dataclass
class Tally:
    """How many records were read, and how many of what was left out, by reason.

    With ``drop_repeats`` a record that repeats an earlier one in every field is left out; otherwise its id is
    used twice, which is a fault. An empty id is none: such a record is identified by its content.
    """

    drop_repeats: bool = False
    records: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count one more."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def read_converted(
    reader: Reader, rows: Rows, kinds: Collection[Kind], tally: Tally
) -> Iterator[dict[Kind, list[Record]]]:
    """What the reader makes of each record: for each kind its records, perhaps none.

    Raises:
        BrokenRecordsError: a row is no record of ``reader.model``, or makes none of ours, or an id is used
            twice (raised after the last row).
        DataError: there is no row.
    """
    faults = Faults(rows.source, rows.unit)
    seen: dict[str, int] = {}
    with_id = "id" in reader.model.model_fields or hasattr(reader.model, "id")
    for row in rows.rows:
        tally.records += 1
        # A faulty row is only noted: what is wrong with all of them is raised after the last one.
        try:
            record = None if row.faults else _validated(reader.model, row.value)
            converted = {kind: list(reader.makes[kind](record)) for kind in kinds if record is not None}
        except (ValidationError, PydanticCustomError) as error:
            faults.add([Fault(row.number, "", *_refusal(error), row.file)])
            continue
        if record is None:
            unreadable = Fault(row.number, "", f"no record of {reader.label}", "compare it with the others")
            row_faults = row.faults or explain_value(row.number, row.value, reader.model) or [unreadable]
            faults.add(replace(fault, file=row.file) for fault in row_faults)
            continue
        if with_id:
            id: str = getattr(record, "id")  # noqa: B009  (not every record has one)
            identity = id or f"#{hash(record)}"
            if tally.drop_repeats and seen.get(identity) == hash(record):
                tally.leave_out("repeats an earlier record")
                continue
            if id:
                faults.see_id(row.number, id, row.file)
            if tally.drop_repeats:
                seen[identity] = hash(record)
        yield converted
    faults.check()
    if not tally.records:
        raise DataError(
            f"{rows.source}: empty: it holds no record", fix="give a source with at least one record"
        )


def _refusal(error: ValidationError | PydanticCustomError) -> tuple[str, str]:
    """(problem, mend) of a record that breaks our contract once it is converted."""
    if isinstance(error, PydanticCustomError):
        return error.message(), str((error.context or {}).get("mend", "mend the record"))
    fault = translate(0, error, {})[0]
    return f"{fault.field}: {fault.problem}" if fault.field else fault.problem, fault.mend


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


def iter_converted(opened: OpenedSource, kind: Kind, tally: Tally) -> Iterator[Record]:
    """The records of a kind one by one; faults are raised after the last, so use them only then."""
    reader, jsonl = opened.reader, opened.rows.jsonl
    if reader is CONTRACTS[kind] and reader.makes[kind] is unchanged and jsonl and not tally.drop_repeats:
        yield from iter_records(jsonl, cast("type[Record]", reader.model))  # several times faster
        return
    converted = _converted(opened, kind, tally)
    if kind == "corpus" and reader.gathers:
        yield from unique_passages(cast("Iterator[Passage]", converted), tally)
    else:
        yield from converted


def _converted(opened: OpenedSource, kind: Kind, tally: Tally) -> Iterator[Record]:
    """What the reader makes of each record; one that gives nothing is counted as left out."""
    for converted in read_converted(opened.reader, opened.rows, (kind,), tally):
        if not converted[kind] and kind != "corpus":
            tally.leave_out(opened.reader.unused)
        yield from converted[kind]


# The records of a source by kind.


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
    name = source if source.startswith(HUB_PREFIX) else source_path(source).name.partition(".")[0]
    targets: dict[str, list[Preference]] = {}
    for pair in load_preferences(source, format=format, tally=tally):
        targets.setdefault(pair.distribution or name, []).append(pair)
    return targets


def corpus_file(source: str) -> Path:
    """The passages of a source as a plain JSONL file, for retrievers that map it into memory.

    A file in that form is returned as it is, unread; anything else is converted once, in the cache.

    Raises as ``load_questions`` does.
    """
    opened = open_source(source, "corpus")
    path = opened.rows.jsonl
    if path is not None and opened.reader is CORPUS and is_plain(path):
        return path
    converted = cache_dir("corpora", f"{source_hash(source)[:32]}.jsonl")
    if not converted.exists():
        write_jsonl(converted, map(json_object, iter_converted(opened, "corpus", Tally())))
    return converted


def _load(source: str, kind: Kind, record: type[R], format: str, tally: Tally | None = None) -> list[R]:
    """Every record of a kind, whose type the kind decides."""
    return cast("list[R]", list(iter_converted(open_source(source, kind, format), kind, tally or Tally())))


# Do questions and corpus belong together? A gold title that is not in the corpus can never be found.


def check_questions(questions: Sequence[Question], titles: Iterable[str]) -> None:
    """Make sure that every question has gold titles and that the corpus has them all, letter for letter.

    Args:
        titles: the title of every passage; titles may repeat.

    Raises:
        DataError: no question, an empty corpus, questions without gold, or gold titles that the corpus lacks;
            all of them together, up to 20.
    """
    corpus_titles = titles if isinstance(titles, set | frozenset) else set(titles)
    if not questions:
        raise DataError("no questions", fix="give a source with at least one question")
    if not corpus_titles:
        raise DataError("the corpus is empty", fix="give a corpus with at least one passage")
    bare = [question for question in questions if not question.supporting]
    missing: dict[str, str] = {}
    for question in questions:
        for title in question.supporting:
            if title not in corpus_titles:
                missing.setdefault(title, question.id)
    if not bare and not missing:
        return
    # The message: questions without gold titles, then missing titles with their near misses, 20 lines in all.
    lines = [
        f"question {question.id!r}: no gold title (`supporting` is empty)" for question in bare[:MAX_SHOWN]
    ]
    listed = dict(list(missing.items())[: MAX_SHOWN - len(lines)])
    near = near_titles(listed, corpus_titles)
    lines += [
        f"question {id!r}: gold title {title!r} is not in the corpus{near[title]}"
        for title, id in listed.items()
    ]
    total = len(bare) + len(missing)
    if total > len(lines):
        lines.append(f"and {total - len(lines)} more")
    fix = "give the corpus that these questions were made for, or mend the titles"
    if not missing:
        fix = "name the titles of the passages that answer each question in `supporting`"
    raise DataError(
        "\n  ".join([f"questions and corpus do not fit: {total} fault{'s' * (total > 1)}", *lines]), fix=fix
    )


def near_titles(missing: Collection[str], titles: Collection[str]) -> dict[str, str]:
    """For each missing title what may be meant: ``; it has 'Grant Hill'``, or nothing."""
    if not missing:
        return {}
    folded = {_folded(name): name for name in titles}
    return {name: _near_title(name, folded) for name in missing}


def _near_title(title: str, folded: dict[str, str]) -> str:
    key = _folded(title)
    if key in folded:
        return f"; it has {folded[key]!r}, which differs in case, spacing or Unicode form ({folded[key]!a})"
    candidates = [other for other in folded if other[:2] == key[:2] and abs(len(other) - len(key)) <= 5]
    close = difflib.get_close_matches(key, candidates[:MAX_CANDIDATES], n=1, cutoff=0.9)
    return f"; it has {folded[close[0]]!r}" if close else ""


def _folded(title: str) -> str:
    """A title without what copies of Wikipedia differ in: HTML entities, Unicode form, case, underscores."""
    plain = unicodedata.normalize("NFKC", html.unescape(title)).replace("_", " ")
    return " ".join(plain.casefold().split())
