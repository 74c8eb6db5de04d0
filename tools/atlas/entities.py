"""From typed rows to entities: what each thing is called, and every fact of it as text.

``Entity.keys`` holds facts as the tables write them (``country="Netherlands"``), for joins and comparisons;
``Atlas.show`` gives them as prose ("the Netherlands"). Parenthesized additions to names are for titles only.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from atlas.tables import Tables, key

KINDS = {
    "country": "countries", "city": "cities", "state": "states", "president": "presidents",
    "element": "elements", "river": "rivers", "person": "people", "book": "books", "music": "music",
    "painting": "paintings", "museum": "museums", "film": "films", "invention": "inventions",
    "landmark": "landmarks", "mountain": "mountains", "water": "waters", "island": "islands",
    "olympics": "olympics", "body": "moons", "unit": "units",
}  # fmt: skip
LABELS = {"country": "country", "state": "U.S. state", "body": "celestial body", "city": "town"}
LINKS = {
    "country": ("country",), "capital": ("city",), "river": ("river",), "city": ("city",),
    "birthplace": ("city",), "state": ("state",), "author": ("person",), "composer": ("person",),
    "painter": ("person",), "director": ("person",), "inventor": ("person",), "designer": ("person",),
    "discoverer": ("person",), "namesake": ("person",), "museum": ("museum",), "parent": ("body",),
    "mouth": ("river",),
}  # fmt: skip
"""Fields that name another entity, and the kinds it may be of."""


@dataclass(frozen=True)
class Entity:
    """One thing with a passage of its own."""

    kind: str
    key: str
    title: str
    name: str
    keys: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}:{self.key}"


def plain(name: str) -> str:
    """A name as prose writes it: without the parenthesized addition that keeps titles apart."""
    return re.sub(r" \([^)]*\)$", "", name)


def listing(names: list[str] | tuple[str, ...]) -> str:
    """``a, b and c``; empty for none."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


class Atlas:
    """All entities, findable by kind and key, with the entities that a field links to."""

    def __init__(self, tables: Tables) -> None:
        entities = [e for kind, table in KINDS.items() for e in _rows(kind, getattr(tables, table))]
        have = {e.key for e in entities if e.kind == "city"}
        for country in tables.countries:
            capital = country.capital
            if capital and capital not in have and capital != key(country.name):
                cells = {"name": capital, "country": key(country.name), "river": "", "sea": ""}
                entities.append(_entity("city", cells))
        titles = Counter(e.title for e in entities)
        entities = [_distinct(e) if titles[e.title] > 1 else e for e in entities]
        self.entities = tuple(entities)
        self._index = {(e.kind, e.key): e for e in entities}
        self.kinds = {kind: tuple(e for e in entities if e.kind == kind) for kind in KINDS}

    def get(self, kind: str, name: str) -> Entity | None:
        """The entity of that kind with that key."""
        return self._index.get((kind, name))

    def linked(self, entity: Entity, field: str) -> Entity | None:
        """The entity that ``field`` of ``entity`` names, where it has a passage."""
        value = key(str(entity.keys.get(field) or ""))
        return next((e for kind in LINKS.get(field, ()) if (e := self.get(kind, value))), None)

    def show(self, entity: Entity, field: str) -> str:
        """A fact as prose: linked entities by the name they have in running text."""
        value = entity.keys[field]
        if value is None or value == ():
            return ""
        if isinstance(value, tuple):
            names = [e.name if (e := self.get("country", v)) else v for v in value]
            return listing(names)
        if target := self.linked(entity, field):
            return target.name
        return f"the {plain(value)}" if field == "river" and value else plain(str(value))


def _rows(kind: str, rows: tuple[Any, ...]) -> list[Entity]:
    return [_entity(kind, asdict(row)) for row in rows]


def _entity(kind: str, cells: dict[str, Any]) -> Entity:
    if kind == "olympics":
        cells["name"] = f"{cells['year']} {cells['season']} Olympics"
    written = str(cells.get("name") or cells["title"])
    title = f"{key(written)} (unit)" if kind == "unit" else key(written)
    return Entity(kind, key(written), title, plain(written), cells)


def _distinct(entity: Entity) -> Entity:
    return replace(entity, title=f"{entity.title} ({LABELS.get(entity.kind, entity.kind)})")
