"""The rows of the atlas tables: one frozen dataclass per CSV, its fields the columns.

Empty cells are ``""`` or ``None``: not stated. Cells with several values separate them by ``;``.
A name may carry an article ("the Nile"); other tables refer to it without one ("Nile").
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Country:
    name: str
    continent: str
    region: str
    capital: str
    currency: str
    languages: tuple[str, ...]
    neighbours: tuple[str, ...]


@dataclass(frozen=True)
class City:
    name: str
    country: str
    river: str
    sea: str


@dataclass(frozen=True)
class State:
    name: str
    capital: str
    year: int
    nickname: str


@dataclass(frozen=True)
class President:
    name: str
    number: int
    born: int
    died: int
    state: str
    start: int
    end: int


@dataclass(frozen=True)
class Element:
    number: int
    name: str
    symbol: str
    category: str
    discoverer: str
    year: int | None
    origin: str


@dataclass(frozen=True)
class River:
    name: str
    country: str
    mouth: str
    rank: str


@dataclass(frozen=True)
class Person:
    name: str
    role: str
    nationality: str
    born: int | None
    died: int | None
    birthplace: str
    country: str
    known_for: str


@dataclass(frozen=True)
class Book:
    title: str
    author: str
    year: int | None
    language: str
    form: str
    subject: str


@dataclass(frozen=True)
class Music:
    title: str
    composer: str
    year: int | None
    form: str
    about: str


@dataclass(frozen=True)
class Painting:
    title: str
    painter: str
    museum: str
    subject: str


@dataclass(frozen=True)
class Museum:
    name: str
    city: str
    country: str
    known: str


@dataclass(frozen=True)
class Film:
    title: str
    director: str
    year: int
    language: str
    about: str


@dataclass(frozen=True)
class Invention:
    name: str
    inventor: str
    year: int | None
    use: str


@dataclass(frozen=True)
class Landmark:
    name: str
    city: str
    country: str
    designer: str
    year: int | None
    kind: str


@dataclass(frozen=True)
class Mountain:
    name: str
    range: str
    country: str
    height: int | None


@dataclass(frozen=True)
class Water:
    name: str
    kind: str
    country: str
    river: str
    note: str


@dataclass(frozen=True)
class Island:
    name: str
    country: str
    sea: str
    note: str


@dataclass(frozen=True)
class Games:
    season: str
    year: int
    city: str


@dataclass(frozen=True)
class Body:
    name: str
    kind: str
    parent: str
    discoverer: str
    year: int | None
    note: str


@dataclass(frozen=True)
class Unit:
    name: str
    symbol: str
    quantity: str
    namesake: str
