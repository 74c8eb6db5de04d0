"""MMLU (Hendrycks et al., 2021): a folder of tables without a header, one for each subject.

    abstract_algebra_test.csv:  "Find the degree for ...",0,4,2,6,B

The subject and the split are those of the file's name; the ids count from 0: ``abstract_algebra-test-0``.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field

from lmtools.core.errors import DataError
from lmtools.data.faults import Fault
from lmtools.data.reader import Reader
from lmtools.data.records import MultipleChoice, Record
from lmtools.data.rows import Row, Rows
from lmtools.data.stream import open_data, text_lines

COLUMNS = ("question", "A", "B", "C", "D", "answer")
LETTERS = "ABCD"
SUFFIXES = (".csv", ".csv.gz", ".csv.zst")
SNIFFED = 20
"""Records of a file that are looked at to tell whether it is one of MMLU's."""


class MmluRecord(Record):
    """A row with names for its cells."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    A: str
    B: str
    C: str
    D: str
    answer: Literal["A", "B", "C", "D"]
    subject: str = ""


def choices(record: MmluRecord) -> Iterator[MultipleChoice]:
    """The question with its four choices."""
    yield MultipleChoice(
        id=record.id,
        question=record.question,
        choices=(record.A, record.B, record.C, record.D),
        answer=LETTERS.index(record.answer),
        subject=record.subject,
    )


MMLU = Reader(
    name="mmlu",
    label="MMLU",
    marks=frozenset(COLUMNS),
    model=MmluRecord,
    makes={"choices": choices},
)


def is_mmlu(path: Path) -> bool:
    """Whether a path is a folder of tables, or a table most of whose first rows end as MMLU's do."""
    if path.is_dir():
        return bool(tables(path))
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    with open_data(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="")
        try:
            rows = list(islice(csv.reader(text), SNIFFED))
        except csv.Error:
            return False
        finally:
            text.detach()
    ends = [re.fullmatch(r"\s*[A-Za-z0-9]\s*", row[-1]) is not None for row in rows if row]
    return sum(ends) * 2 > len(ends) and any(len(row) == len(COLUMNS) for row in rows)


def tables(folder: Path) -> list[Path]:
    """The tables of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))


def mmlu_rows(path: Path) -> Rows:
    """The rows of a table, or of all tables of a folder."""
    if path.is_dir():
        return Rows(str(path), (row for table in tables(path) for row in _rows(table, str(table))))
    return Rows(str(path), _rows(path, ""))


def _rows(path: Path, file: str) -> Iterator[Row]:
    stem = path.name.removesuffix(".gz").removesuffix(".zst").removesuffix(".csv")
    named = re.fullmatch(r"(.+)_(dev|val|test|train)", stem)
    subject, prefix = (named[1], f"{named[1]}-{named[2]}") if named else (stem, stem)
    reader = csv.reader(text_lines(path))
    line, count = 1, 0
    try:
        for cells in reader:
            if cells:
                yield _row(line, cells, f"{prefix}-{count}", subject, file)
                count += 1
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: {error}", fix="mend the table") from error
    if not count:
        raise DataError(f"{path}: empty: it holds no record", fix="drop the file, or fetch it again")


def _row(line: int, cells: list[str], id: str, subject: str, file: str) -> Row:
    if len(cells) != len(COLUMNS):
        problem = f"{len(cells)} cells, and {len(COLUMNS)} are expected: {', '.join(COLUMNS)}"
        return Row(line, None, (Fault(line, "", problem, "quote cells that hold a comma"),), file)
    return Row(line, {"id": id, "subject": subject, **dict(zip(COLUMNS, cells, strict=True))}, (), file)
