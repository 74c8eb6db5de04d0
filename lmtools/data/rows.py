"""Data files read as records of the contract, or as rows of any format.

``iter_records`` is the short way for JSONL in the contract. ``read_rows`` gives any file (JSONL, a JSON
array, a table with a header, Parquet) as numbered JSON values; what is wrong with a row travels with it, so
that a reader can report all faults of a file at once.
"""

import ast
import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from lmtools.core.errors import DataError
from lmtools.core.strings import cut
from lmtools.data.faults import MAX_DEPTH, MAX_TEXT, Fault, Faults, decode, explain
from lmtools.data.parquet import parquet_values
from lmtools.data.records import Passage, Question
from lmtools.data.stream import HEAD, byte_lines, open_data, read_text, text_lines

# What a file is, told by its first bytes.

FOREIGN = {
    b"PAR1": "a Parquet file", b"PARE": "an encrypted Parquet file", b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive (or a spreadsheet)", b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive", b"\x1f\x8b": "a gzip archive in another",
    b"\x28\xb5\x2f\xfd": "a zstd archive in another", b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a numpy array", b"version https://git-lfs": "a Git LFS pointer in place of the file",
    b"<": "HTML or XML",
}  # fmt: skip
CONVERSIONS = {
    "an Arrow file": "load its folder: hf:FOLDER",
    "a Git LFS pointer in place of the file": "fetch the file itself: git lfs pull",
    "HTML or XML": "fetch the file itself; a page may have been saved in its place",
    "a bzip2 archive": "decompress it: bunzip2 -k FILE",
    "an xz archive": "decompress it: unxz -k FILE",
}
"""What to do with a foreign format, where it is not to save the file as another."""
ARRAYS = ("a JSON array", "JSON spread over several lines")
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
"""What parts the cells of a table, in messages."""


def foreign_format(first: bytes) -> str | None:
    """What a file that begins with this line is, if it is not JSONL and that can be told."""
    for magic, name in FOREIGN.items():
        if first.startswith(magic):
            return name
    if first.startswith(b"["):
        return "a JSON array"
    if first.rstrip() == b"{":
        return "JSON spread over several lines"
    is_table = delimiter(first) and not any(sign in first for sign in (b"{", b"}", b'":'))
    return "a CSV or TSV table" if is_table else None


def delimiter(header: bytes) -> str:
    """What stands most often between the names of a table's header; empty if nothing does."""
    counts = {sign: header.count(sign.encode()) for sign in DELIMITERS}
    best = max(counts, key=lambda sign: counts[sign])
    return best if counts[best] else ""


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
    doubtful = b"\\u0000" in line or len(line) > MAX_TEXT or line.count(b"[") + line.count(b"{") > MAX_DEPTH
    if doubtful and explain(1, line, model):
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
    for number, raw in byte_lines(path):
        line = raw.strip(b" \t\r\n")
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

LIST_COLUMNS = frozenset(
    {"aliases", "supporting", "choices", "incorrect", "golden_answers", "possible_answers", "messages"}
)
"""Columns of a table whose cells hold a list: ``["a", "b"]``, as Python prints it, or ``a | b``."""


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
    """The rows of a file, whichever of the four formats it has.

    Raises:
        DataError: the file is missing, empty, damaged or of yet another format.
    """
    with open_data(path) as stream:
        head = _first_line(stream)
    kind = foreign_format(head)
    if kind is None:
        return Rows(str(path), _jsonl(path), jsonl=path)
    if kind in ARRAYS:
        return Rows(str(path), _array(path), unit="record ")
    if kind == "a CSV or TSV table":
        return Rows(str(path), _table(path, delimiter(head)))
    if kind == "a Parquet file":
        return Rows(str(path), numbered(parquet_values(path)), unit="record ")
    fix = CONVERSIONS.get(kind, "save it as JSONL, JSON, CSV or Parquet").replace("FILE", str(path))
    raise DataError(f"{path}: {kind}", fix=fix)


def _first_line(stream: IO[bytes]) -> bytes:
    """The start of the first line that holds something; an array of many megabytes is one line."""
    while raw := stream.readline(HEAD):
        if line := raw.strip(b" \t\r\n"):
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
            fix=f"mend the line; objects that span lines become JSONL with: jq -c . {path} > FILE",
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: JSON that cannot be read: {error}", fix="simplify it") from error
    if not isinstance(values, list):
        lists = [name for name, value in values.items() if isinstance(value, list)]
        fix = f"keep its list: jq -c '.{cut(lists[0], 40)}[]' {path} > FILE" if lists else "put it in [...]"
        raise DataError(f"{path}: one JSON object, where a list of records is expected", fix=fix)
    yield from numbered(values)


def numbered(values: Iterable[Any]) -> Iterator[Row]:
    """Values as rows, counted from 1."""
    yield from (Row(number, value) for number, value in enumerate(values, start=1))


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), 10 * MAX_TEXT))
    reader = csv.reader(text_lines(path), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(filter(None, reader))]
        for name in header:
            if name and header.count(name) > 1:
                raise DataError(f"{path}:1: two columns named {cut(name, 40)!r}", fix="rename one of them")
        for cells in filter(None, reader):
            number = reader.line_num
            if len(cells) > len(header):
                parted = f"the {len(header)} columns of the header, parted by {DELIMITERS[delimiter]}"
                yield Row(number, None, (Fault(number, "", f"more cells than {parted}", "quote the cell"),))
            else:
                named = zip(header, cells, strict=False)
                yield Row(number, {name: _cell(name, text) for name, text in named})
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}", fix="mend the table") from error


def _cell(column: str, text: str) -> Any:
    """A cell's text, or the list that it holds."""
    if column not in LIST_COLUMNS:
        return text
    if text.lstrip().startswith("["):
        return listed(text)
    return [part for part in map(str.strip, text.split("|")) if part]


ITEM = re.compile(
    r"""\s*(?P<item>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\w.+-]+)\s*(?P<end>,|\])\s*""", re.DOTALL
)
"""An item of a list as Python prints it, and what follows it."""


def listed(text: str) -> Any:
    """The list that a text is, as JSON or as Python prints it; the text itself if it is neither.

    numpy prints no commas, which Python would read as one text: such a list stays a text.

    >>> listed('["a"]'), listed("['a', 1]"), listed("['a' 'b']")
    (['a'], ['a', 1], "['a' 'b']")
    """
    value, faults = decode(0, text.encode("utf-8", "surrogatepass"))
    if not faults:
        return value
    items, body = [], text.strip()
    start = 1
    while start < len(body) and (match := ITEM.match(body, start)):
        try:
            items.append(ast.literal_eval(match["item"]))
        except (ValueError, SyntaxError):
            return text
        start = match.end()
        if match["end"] == "]":
            break
    return items if body[:1] == "[" and items and start == len(body) and body[-1] == "]" else text
