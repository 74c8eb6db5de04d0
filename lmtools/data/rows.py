"""Any data file as numbered JSON values: JSONL, a JSON array, or a CSV or TSV table with a header.

What is wrong with a single row travels with it, so that a reader can tell all faults of a file at once.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from lmtools.core.errors import DataError
from lmtools.data.explain import MAX_TEXT, decode
from lmtools.data.faults import Fault
from lmtools.data.jsonl import jsonl_lines
from lmtools.data.raw import BOM, foreign_format, open_data, read_text

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

    ``place`` and ``unit`` are how messages name a row: ``PLACE:unit 3``. ``jsonl``: the file, if JSONL.
    """

    place: str
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
