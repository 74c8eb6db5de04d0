"""Read the CSV tables of the atlas into typed rows, and check that they agree with each other."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from atlas import path, schema
from lmtools.core.errors import DataError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Tables:
    """All tables of the atlas, each in the order of its file."""

    countries: tuple[schema.Country, ...]
    cities: tuple[schema.City, ...]
    states: tuple[schema.State, ...]
    presidents: tuple[schema.President, ...]
    elements: tuple[schema.Element, ...]
    rivers: tuple[schema.River, ...]
    people: tuple[schema.Person, ...]
    books: tuple[schema.Book, ...]
    music: tuple[schema.Music, ...]
    paintings: tuple[schema.Painting, ...]
    museums: tuple[schema.Museum, ...]
    films: tuple[schema.Film, ...]
    inventions: tuple[schema.Invention, ...]
    landmarks: tuple[schema.Landmark, ...]
    mountains: tuple[schema.Mountain, ...]
    waters: tuple[schema.Water, ...]
    islands: tuple[schema.Island, ...]
    olympics: tuple[schema.Games, ...]
    moons: tuple[schema.Body, ...]
    units: tuple[schema.Unit, ...]


def load(folder: Path | None = None) -> Tables:
    """Every table of ``folder`` (default: the shipped ones).

    Raises:
        DataError: a column is missing or superfluous, a cell has the wrong type, or tables disagree.
    """
    folder = folder or path("tables")
    tables = Tables(**{f.name: read(folder / f"{f.name}.csv", f.type.__args__[0]) for f in fields(Tables)})  # type: ignore[union-attr]
    check(tables)
    return tables


def read(file: Path, row_type: type[Row]) -> tuple[Row, ...]:
    """The rows of one CSV file; lines that open with ``#`` are comments.

    Raises:
        DataError: naming file, line and column of the first fault.
    """
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    columns = {f.name: f.type for f in fields(row_type)}  # type: ignore[arg-type]
    rows = []
    for number, cells in enumerate(csv.DictReader(lines), start=1):
        if list(cells) != list(columns) or None in cells.values():
            raise DataError(f"{file}, row {number}: columns do not fit", fix=f"write {', '.join(columns)}")
        rows.append(
            row_type(**{name: _cell(file, number, name, cells[name], columns[name]) for name in cells})
        )
    return tuple(rows)


def _cell(file: Path, row: int, column: str, text: str, kind: Any) -> Any:
    if kind is str:
        return text
    if kind == tuple[str, ...]:
        return tuple(text.split(";")) if text else ()
    if not text and isinstance(kind, UnionType):
        return None
    try:
        return int(text)
    except ValueError as error:
        raise DataError(
            f"{file}, row {row}, {column}: {text!r} is no whole number", fix="write one"
        ) from error


def key(name: str) -> str:
    """A name as other tables refer to it: without its article, first letter capital."""
    name = name.removeprefix("the ")
    return name[:1].upper() + name[1:]


def check(tables: Tables) -> None:
    """Hold the tables to each other.

    Raises:
        DataError: names twice in a table, references to rows that do not exist, one-sided borders,
            an incomplete periodic table, or years that cannot be.
    """
    faults = [*_twice(tables), *_strangers(tables), *_borders(tables), *_lives(tables)]
    if [e.number for e in tables.elements] != list(range(1, 119)):
        faults.append("elements: the atomic numbers are not 1 to 118")
    if faults:
        lines = "\n  ".join(faults[:20])
        raise DataError(f"the atlas tables disagree:\n  {lines}", fix="correct the CSV files")


def _twice(tables: Tables) -> Iterator[str]:
    for field in fields(Tables):
        rows = getattr(tables, field.name)
        names = Counter(
            getattr(r, "name", "") or getattr(r, "title", "") or f"{r.season} {r.year}" for r in rows
        )
        yield from (f"{field.name}: {name} is there twice" for name, count in names.items() if count > 1)


def _strangers(tables: Tables) -> Iterator[str]:
    """References to countries, people and museums that have no row."""
    countries = {key(c.name) for c in tables.countries}
    places = [(p.name, p.country) for p in tables.cities] + [(p.name, p.country) for p in tables.rivers]
    places += [(p.name, p.country) for p in tables.mountains] + [(p.name, p.country) for p in tables.waters]
    places += [(p.name, p.country) for p in tables.islands] + [(p.name, p.country) for p in tables.museums]
    people = {p.name for p in tables.people}
    works = [(b.title, b.author) for b in tables.books] + [(m.title, m.composer) for m in tables.music]
    works += [(p.title, p.painter) for p in tables.paintings] + [(f.title, f.director) for f in tables.films]
    works += [(i.name, i.inventor) for i in tables.inventions] + [(u.name, u.namesake) for u in tables.units]
    museums = {key(m.name) for m in tables.museums}
    exhibits = [(p.title, p.museum) for p in tables.paintings]
    for rows, names in ((places, countries), (works, people), (exhibits, museums)):
        yield from (
            f"{name} refers to {other}, which has no row"
            for name, other in rows
            if other and other not in names
        )


def _borders(tables: Tables) -> Iterator[str]:
    """Borders that only one of two countries with a list of neighbours has."""
    lists = {key(c.name): c.neighbours for c in tables.countries}
    for name, neighbours in lists.items():
        for other in neighbours:
            if name not in (lists.get(other, ("?",)) or (name,)):
                yield f"{name} borders {other}, but not the other way round"


def _lives(tables: Tables) -> Iterator[str]:
    lives = [(p.name, p.born, p.died) for p in tables.people]
    lives += [(p.name, p.born, p.died) for p in tables.presidents]
    yield from (f"{n}: {b} to {d} is no life" for n, b, d in lives if b and d and not 15 <= d - b <= 105)
