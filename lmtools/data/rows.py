"""Data files: opened with clear errors, read as records of the contract, or as rows of any format.

``iter_records`` is the short way for JSONL in the contract. ``read_rows`` gives any file (JSONL, a JSON
array, a CSV or TSV table with a header) as numbered JSON values; what is wrong with a row travels with it, so
that a reader can report all faults of a file at once.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

from pydantic import BaseModel, ValidationError

from lmtools.core.errors import DataError
from lmtools.core.strings import near_path
from lmtools.data.faults import MAX_TEXT, Fault, Faults, decode, explain
from lmtools.data.records import Passage, Question

# A data file's bytes: opened with clear errors, decompressed, and what they are if they are not JSONL.

BOM = b"\xef\xbb\xbf"
FOREIGN = {
    b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text",
}  # fmt: skip


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """A data file's bytes, decompressed if it is gzipped, whatever its name.

    Raises:
        DataError: it is missing, no file, unreadable or damaged.
    """
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if gzipped:
                with gzip.open(raw) as stream:
                    yield cast("IO[bytes]", stream)
            else:
                yield raw
    except FileNotFoundError as error:
        raise no_such_file(path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip: {error}", fix="fetch or compress the file again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", fix="give a readable file"
        ) from error


def no_such_file(path: Path) -> DataError:
    """The error for a path where there is no file, with what may be meant."""
    near = near_path(path) or near_path(path, folders=True)
    where = "" if path.parent.is_dir() else f" (there is no folder {path.parent})"
    fix = f"did you mean {near}?" if near else f"check the path; you are in {Path.cwd()}"
    return DataError(f"{path}: no such file{where}", fix=fix)


def read_text(path: Path) -> str:
    """The whole of a text file.

    Raises:
        DataError: as ``open_data`` does, or it is not UTF-8.
    """
    with open_data(path) as stream:
        data = stream.read().removeprefix(BOM)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8"
        raise DataError(problem, fix="save the file as UTF-8") from error


def foreign_format(first: bytes) -> str | None:
    """What a file that begins with this line is, if it is not JSONL and that can be told."""
    for magic, name in FOREIGN.items():
        if first.startswith(magic):
            return name
    odd, even = first[1:4:2], first[0:3:2]
    if odd == b"\0\0" != even or even == b"\0\0" != odd:  # without a mark in front
        return "UTF-16 text"
    if first.startswith(b"["):
        return "a JSON array"
    if first.rstrip() == b"{":
        return "JSON spread over several lines"
    cells = max(first.count(b","), first.count(b"\t"))
    return "a CSV or TSV table" if cells and not any(sign in first for sign in (b"{", b"}", b'":')) else None


# JSONL files in the data contract: one JSON object a line, UTF-8, optionally gzipped.
#
#     questions = read_questions(Path("questions.jsonl"))
#     passages = read_passages(Path("corpus.jsonl.gz"))
#
# A file is read to its end, and then all its faults are one error. Blank lines and a byte order mark are
# skipped. Texts with NUL (``\u0000``), half a surrogate pair (``\ud800``) or more
# than a million characters are faults: what comes after would break on them, or change them silently.

T = TypeVar("T", bound=BaseModel)


def read_questions(path: Path) -> list[Question]:
    """The questions of a JSONL file, in order.

    Raises:
        DataError: the file is missing, empty or of another format, or a record breaks the contract.
    """
    return read_records(path, Question)


def read_passages(path: Path) -> list[Passage]:
    """The passages of a JSONL corpus, in order; raises as ``read_questions`` does."""
    return read_records(path, Passage)


def read_records(path: Path, model: type[T]) -> list[T]:
    """All records of a JSONL file; ids, where the model has them, must be unique.

    Raises:
        DataError: the file is missing, empty or of another format, or a record breaks the contract.
    """
    return list(iter_records(path, model))


def iter_records(path: Path, model: type[T]) -> Iterator[T]:
    """The records of a JSONL file one by one, for files larger than memory.

    What is wrong is raised after the last line, so use what was yielded only once the iterator is exhausted.
    """
    faults = Faults(path)
    with_id = "id" in model.model_fields
    count = 0
    for number, line in jsonl_lines(path):
        count += 1
        record = _parse(line, model)
        if record is None:
            faults.add(explain(number, line, model))
            continue
        if with_id:
            faults.see_id(number, record.id)  # type: ignore[attr-defined]
        yield record
    faults.check()
    if not count:
        raise DataError(f"{path}: empty: it holds no record", fix="write one JSON object on each line")


def _parse(line: bytes, model: type[T]) -> T | None:
    """The record of a line, or None where it has a fault (which ``explain`` then finds)."""
    if (b"\\u0000" in line or len(line) > MAX_TEXT) and explain(1, line, model):
        return None
    try:
        return model.model_validate_json(line)
    except ValidationError:
        return None


def jsonl_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers from 1.

    Raises:
        DataError: the file is missing, cannot be read, or starts as no JSONL file does.
    """
    first = True
    with open_data(path) as stream:
        for number, raw in enumerate(stream, start=1):
            line = (raw.removeprefix(BOM) if number == 1 else raw).strip(b" \t\r\n")
            if not line:
                continue
            if first:
                expect_jsonl(path, line)
                first = False
            yield number, line


def expect_jsonl(path: Path, first: bytes) -> None:
    """Raises: DataError: the first line shows that the file is of another format; says how to convert it."""
    other_format = foreign_format(first)
    if other_format:
        raise DataError(
            f"{path}: {other_format}, where one JSON object a line (JSONL) is expected",
            fix=f"convert it: lmtools data prepare {path} --to KIND --out FILE.jsonl",
        )


def json_object(record: BaseModel) -> dict[str, Any]:
    """A record as the JSON object that reads back as the same record; defaults are left out."""
    return record.model_dump(mode="json", exclude_defaults=True)


# Rows of any format.

LIST_COLUMNS = frozenset({"aliases", "supporting"})
"""Columns of a table whose cells hold a list: ``["a", "b"]`` or ``a | b``."""


class Row(NamedTuple):
    """A line (or record) number from 1, the JSON value there, and the faults that kept it from being read.

    ``file`` is named where the source is a folder of several.
    """

    number: int
    value: Any
    faults: tuple[Fault, ...] = ()
    file: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of one source, to be read once.

    ``source`` and ``unit`` are how messages name a row: ``SOURCE:unit 3``. ``jsonl``: the file, if JSONL.
    """

    source: str
    rows: Iterable[Row]
    unit: str = ""
    jsonl: Path | None = None


def read_rows(path: Path) -> Rows:
    """The rows of a file, whichever of the three formats it has.

    Raises:
        DataError: the file is missing, empty, damaged or of yet another format.
    """
    with open_data(path) as stream:
        head = _first_line(stream)
    kind = foreign_format(head)
    if kind is None:
        return Rows(str(path), _jsonl(path), jsonl=path)
    if kind in ("a JSON array", "JSON spread over several lines"):
        return Rows(str(path), _array(path), unit="record ")
    if kind == "a CSV or TSV table":
        return Rows(str(path), _table(path, "\t" if b"\t" in head else ","))
    fix = "save it as JSONL, JSON or CSV in UTF-8"
    if kind == "UTF-16 text":
        fix = f"save it in UTF-8: iconv -f UTF-16 -t UTF-8 {path} > FILE"
    raise DataError(f"{path}: {kind}", fix=fix)


def _first_line(stream: IO[bytes]) -> bytes:
    for raw in stream:
        line = raw.removeprefix(BOM).strip(b" \t\r\n")
        if line:
            return line
    return b""


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in jsonl_lines(path):
        value, faults = decode(number, line)
        yield Row(number, value, tuple(faults))


def _array(path: Path) -> Iterator[Row]:
    text = read_text(path)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: broken JSON at column {error.colno}: {error.msg}",
            fix="mend the line; a file of one JSON object a line must begin with one",
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: JSON that cannot be read: {error}", fix="simplify it") from error
    if not isinstance(values, list):
        raise DataError(
            f"{path}: one JSON object, where a list of records is expected", fix="put it in [...]"
        )
    yield from (Row(number, value) for number, value in enumerate(values, start=1))


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), 10 * MAX_TEXT))
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    columns = len(reader.fieldnames or ())
    try:
        for cells in reader:
            number = reader.line_num
            if None in cells:
                fault = Fault(
                    number, "", f"more cells than the {columns} columns of the header", "quote the cell"
                )
                yield Row(number, None, (fault,))
            else:
                yield Row(
                    number, {name: _cell(name, text) for name, text in cells.items() if text is not None}
                )
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}", fix="mend the table") from error


def _cell(column: str, text: str) -> Any:
    if column not in LIST_COLUMNS:
        return text
    if text.startswith("["):
        value, faults = decode(0, text.encode("utf-8", "surrogatepass"))
        return text if faults else value
    return [part for part in map(str.strip, text.split("|")) if part]
