"""Where questions and passages come from. A source is a string:

atlas                         the bundled corpus; atlas:train, atlas:dev, atlas:test its questions
hf:repo[:config][:split]      a data set of the Hugging Face hub, or a folder that ``datasets`` can load
data:hotpotqa/dev.json        a file of the data folder: $LMTOOLS_DATA, or ../shared/data beside the checkout
anything else                 a file: JSONL in the contract, or a known original format, gzipped or not
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from lmtools.core.errors import DataError
from lmtools.core.files import sha256_file, write_jsonl
from lmtools.core.paths import PACKAGE, bundled, cache_dir
from lmtools.data import hub
from lmtools.data.formats import CORPUS, QUESTIONS, by_name, detect
from lmtools.data.gold import check_questions
from lmtools.data.jsonl import iter_records, json_object
from lmtools.data.raw import BOM, open_data
from lmtools.data.reader import Kind, Reader, Tally, read_originals, unique_passages
from lmtools.data.records import Passage, Question
from lmtools.data.rows import Row, Rows, read_rows

__all__ = ["check_questions", "corpus_file", "load_passages", "load_questions", "source_hash"]

DATA_PREFIX = "data:"
ATLAS = {
    "atlas": "corpus.jsonl",
    **{f"atlas:{split}": f"questions.{split}.jsonl" for split in ("train", "dev", "test")},
}


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


def source_hash(source: str) -> str:
    """SHA-256 of a source's content: of a file its bytes, of a hub data set its records.

    Raises as ``load_questions`` does.
    """
    if source.startswith(hub.PREFIX):
        return hub.content_hash(hub.load(source))
    path = source_path(source)
    with open_data(path):  # for its messages
        return sha256_file(path)


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


def read_source(source: str) -> Rows:
    """The rows of a source of any format; raises as ``open_source`` does."""
    if source.startswith(hub.PREFIX):
        return Rows(source, hub.rows(hub.load(source)), unit="record ")
    return read_rows(source_path(source))


def source_path(source: str) -> Path:
    """The file behind a source that is no hub data set.

    Raises:
        DataError: the bundled data set has no such split.
    """
    if source in ATLAS:
        return bundled("data", "atlas", ATLAS[source])
    if source.startswith("atlas:"):
        raise DataError(f"{source}: no such part of the bundled data set", fix=f"one of {', '.join(ATLAS)}")
    if source.startswith(DATA_PREFIX):
        return data_folder() / source.removeprefix(DATA_PREFIX)
    return Path(source).expanduser()


def data_folder() -> Path:
    """The folder of public data sets that recipes name as ``data:``.

    Raises:
        DataError: there is none.
    """
    named = os.environ.get("LMTOOLS_DATA")
    folder = Path(named).expanduser() if named else PACKAGE.parent.parent / "shared" / "data"
    if not folder.is_dir():
        raise DataError(
            f"the data folder {folder} is not there",
            fix="export LMTOOLS_DATA=FOLDER, or name your own files with --set data.train=FILE and so on",
        )
    return folder


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


def _wrapped(path: Path) -> bool:
    """Whether a file is more than its lines: compressed, or opened by a byte order mark."""
    with path.open("rb") as stream:
        return stream.read(3).startswith((b"\x1f\x8b", BOM))
