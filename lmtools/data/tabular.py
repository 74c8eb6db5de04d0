"""Tables of numbers for regression: a folder in the form of the UCI collections, or a CSV with a header.

A folder (Hernández-Lobato and Adams, 2015) has ``data.txt``, numbers parted by spaces, and which of its
columns are features and target: ``index_features.txt`` and ``index_target.txt``, one number from 0 a line. In
a CSV the target is the last column.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError
from lmtools.core.strings import cut
from lmtools.data.faults import Fault, Faults, describe
from lmtools.data.locations import source_path
from lmtools.data.rows import Row, Rows, read_rows
from lmtools.data.stream import read_text, text_lines

MAX_COLUMNS = 1_000_000


@dataclass(frozen=True)
class Table:
    """Numbers to learn from: ``features`` (n, F), ``target`` (n,), both float64; ``names`` of F features."""

    features: Floats
    target: Floats
    names: tuple[str, ...]


def load_table(source: str) -> Table:
    """The table of a source: a folder, or a CSV or TSV file; ``data:`` names either in the data folder.

    Raises:
        DataError: there is no such source, or it is no table of finite numbers; all faults up to 20 together.
    """
    path = source_path(source)
    if path.is_dir():
        rows = Rows(str(path / "data.txt"), _spaced(path / "data.txt"))
        features = _columns(path / "index_features.txt")
        (target, *surplus) = _columns(path / "index_target.txt")
        if surplus or target in features:
            problem = f"{path / 'index_target.txt'}: not a single column apart from the features"
            raise DataError(problem, fix="name one column, and not one of index_features.txt")
        return _table(rows, features, target)
    table = _table(read_rows(path))
    if not any(_fault({name: name}, name) for name in table.names):
        raise DataError(
            f"{path}:1: numbers, where names are expected", fix="name the columns in the first line"
        )
    return table


def _table(rows: Rows, features: tuple[str, ...] = (), target: str = "") -> Table:
    """The columns of those names; by default the last is the target, all others are features."""
    faults = Faults(rows.source, rows.unit)
    values: list[list[float]] = []
    for row in rows.rows:
        cells = row.value if isinstance(row.value, dict) else {}
        if not target and cells:
            *names, target = cells
            features = tuple(names)
        wrong = list(row.faults) or [
            Fault(row.number, name, *fault) for name in (*features, target) if (fault := _fault(cells, name))
        ]
        faults.add(wrong)
        if not wrong:
            values.append([float(cells[name]) for name in (*features, target)])
    faults.check()
    if not values:
        raise DataError(f"{rows.source}: empty: it holds no row", fix="write one row of numbers a line")
    if not features:
        raise DataError(f"{rows.source}: one column", fix="write the features before the target")
    array = np.array(values, dtype=np.float64)
    return Table(features=array[:, :-1], target=array[:, -1], names=features)


def _fault(cells: dict[str, Any], name: str) -> tuple[str, str] | None:
    """(problem, mend) of a cell that is no finite number."""
    text = cells.get(name)
    if text is None or text == "":
        return "missing", "give every row all columns"
    try:
        number = float(text)
    except (TypeError, ValueError):
        mend = "write a number; the first line of a CSV names the columns"
        if isinstance(text, str) and re.fullmatch(r"[+-]?\d+,\d+", text):
            mend = "write a point in place of the comma"
        return f"expected a number, found {describe(text)}", mend
    except OverflowError:
        number = math.inf
    finite = math.isfinite(number)
    return None if finite else (f"{cut(str(text), 30)} is not finite", "drop the row, or mend the value")


def _spaced(path: Path) -> Iterator[Row]:
    """The rows of a table without a header, its columns named by their number from 0."""
    for number, line in enumerate(text_lines(path), start=1):
        if line.strip():
            yield Row(number, {str(column): text for column, text in enumerate(line.split())})


def _columns(path: Path) -> tuple[str, ...]:
    """The columns that a file names; a number may be written as numpy does, 1.000e+00."""
    columns = []
    for text in read_text(path).split():
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 <= number < MAX_COLUMNS or not number.is_integer():
            raise DataError(
                f"{path}: {cut(text, 30)!r} is no column's number", fix="write one column a line, from 0"
            )
        columns.append(str(int(number)))
    if not columns or len(set(columns)) < len(columns):
        raise DataError(f"{path}: names no column, or one twice", fix="write one column a line, from 0")
    return tuple(columns)
