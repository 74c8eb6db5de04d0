"""Every fact of an entity as prose: its own cells, and what follows from its neighbours in the tables.

The derived facts (contemporaries, other towns of the country, ...) are true, and they make passages share
words with each other as those of an encyclopaedia do.
"""

import re
from collections import Counter
from collections.abc import Callable

from atlas.choice import sample
from atlas.entities import Atlas, Entity, listing
from atlas.tables import key

PEERS = {
    "country": {"peers": "region", "others": "continent"},
    "city": {"peers": "country"},
    "state": {"peers": "~year", "others": ""},
    "president": {"peers": ""},
    "element": {"peers": "category", "coevals": "~year"},
    "river": {"peers": "country", "others": ""},
    "person": {"peers": "role,~born", "compatriots": "nationality", "colleagues": "role"},
    "book": {"peers": "~year", "kin": "form", "others": "language"},
    "music": {"peers": "~year", "kin": "form", "others": ""},
    "painting": {"peers": "museum", "others": ""},
    "museum": {"peers": "city", "others": ""},
    "film": {"peers": "~year", "others": ""},
    "invention": {"peers": "~year", "others": ""},
    "landmark": {"peers": "city", "others": ""},
    "mountain": {"kin": "range", "peers": "country", "others": ""},
    "water": {"peers": "kind", "kin": "country"},
    "island": {"kin": "country", "peers": ""},
    "olympics": {"others": "season"},
    "body": {"peers": "parent", "others": ""},
    "unit": {"peers": ""},
}
"""Which others of its kind a passage mentions: those that share the fields, ``~`` for nearly the same."""
NEAR = 4
"""Years that count as nearly the same."""
CROWD = 4
"""Pages that gather others (natives of a town) name some only where there are this many."""

PLACES = ("country", "state", "city")
"""Kinds whose names alone may not say which one is meant."""
LIVING = 1925
"""Those born since, with no year of death in the table, are spoken of in the present tense."""
NOUNS = ("music", "opera", "operetta", "symphonies", "tango", "ragtime", "canto", "verismo")
"""Styles of composers that are nouns already."""


def entity_facts(atlas: Atlas, entity: Entity) -> dict[str, str]:
    """All facts of an entity by name, as text; unknown ones are missing."""
    texts = {field: atlas.show(entity, field) for field in entity.keys}
    texts["name"] = entity.name
    for slot, spec in PEERS[entity.kind].items():
        texts[slot] = listing([e.name for e in sample(peers(atlas, entity, spec), 3, slot, entity)])
    if derive := DERIVED.get(entity.kind):
        texts.update(derive(atlas, entity, texts))
    texts.update({field[:1].upper() + field[1:]: _capital(text) for field, text in texts.items()})
    texts.update({f"{field}_a": article(text) for field, text in texts.items()})
    return {field: text for field, text in texts.items() if text}


def peers(atlas: Atlas, entity: Entity, spec: str) -> list[Entity]:
    """The others of the kind that share the fields of ``spec`` with the entity."""
    candidates = [e for e in atlas.kinds[entity.kind] if e.key != entity.key and e.name != entity.name]
    for field in filter(None, spec.split(",")):
        target = entity.keys[field.removeprefix("~")]
        if target in (None, ""):
            return []
        near = field.startswith("~")
        candidates = [e for e in candidates if _agree(e.keys[field.removeprefix("~")], target, near)]
    return candidates


def _agree(value: object, target: object, near: bool) -> bool:
    if near and isinstance(value, int) and isinstance(target, int):
        return abs(value - target) <= NEAR
    return value == target


def article(text: str) -> str:
    """``a`` or ``an`` before a phrase, by its first letter, with the usual exceptions of English."""
    vowel = re.match(r"[aeiou]", text, re.IGNORECASE) and not re.match(r"(eu|one|uni)", text, re.IGNORECASE)
    return f"{'an' if vowel else 'a'} {text}" if text else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def decade(entity: Entity) -> str:
    """The decade in which the thing appeared or the person was born, as ``1850s``; empty where unknown."""
    year = entity.keys.get("year") or entity.keys.get("born")
    return f"{int(year) // 10 * 10}s" if year else ""


def _names(entities: list[Entity], count: int, *seed: object) -> str:
    return listing([e.name for e in sample(entities, count, *seed)])


def _where(atlas: Atlas, kind: str, field: str, value: str) -> list[Entity]:
    return [e for e in atlas.kinds[kind] if e.keys[field] == value]


def _country(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    towns = [c for c in _where(atlas, "city", "country", entity.key) if c.key != entity.keys["capital"]]
    borders = entity.keys["neighbours"]
    language = entity.keys["languages"][0] if len(entity.keys["languages"]) == 1 else ""
    return {
        "towns": _names(towns, 3, "towns", entity),
        "borders": str(len(borders) or ""),
        "language": language,
    }


def _city(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    country = atlas.get("country", entity.keys["country"])
    assert country is not None  # the tables are checked
    capital = country.keys["capital"] == entity.key
    twins = [c.keys["capital"] for c in peers(atlas, country, "region") if c.keys["capital"]]
    natives = _where(atlas, "person", "birthplace", entity.key)
    sights = [*_where(atlas, "landmark", "city", entity.key), *_where(atlas, "museum", "city", entity.key)]
    games = _where(atlas, "olympics", "city", entity.key)
    return {
        "status": "the capital of" if capital else "a town or city in",
        "status_after": "the capital of" if capital else "one of the towns of",
        "capitals": listing(sample(twins, 3, "capitals", entity)) if capital else "",
        "region": country.keys["region"],
        "mainland": country.keys["continent"],
        "natives": _names(natives, 2, "natives", entity) if len(natives) >= CROWD else "",
        "sights": _names(sights, 3, "sights", entity),
        "games": listing([g.name for g in games]),
    }


def _state(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    natives = _where(atlas, "president", "state", entity.key)
    return {"presidents": _names(natives, 2, entity) if len(natives) >= CROWD else ""}


def _president(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    return {"natives": _names(peers(atlas, entity, "state"), 2, "natives", entity)}


def _element(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    table = atlas.kinds["element"]
    number = entity.keys["number"]
    beside = {"before": table[number - 2].name, "after": table[number].name} if 1 < number < 118 else {}
    return {**beside, "lone_year": "" if texts["discoverer"] else texts["year"]}


def _river(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    main = atlas.get("river", key(entity.keys["mouth"]))
    return {
        "stem": main.name if main else "",
        "towns": _names(_where(atlas, "city", "river", entity.key), 3, "towns", entity),
        "tributaries": _names(
            [r for r in atlas.kinds["river"] if r.keys["mouth"] == f"the {entity.key}"], 2, entity
        ),
        "works": _names(_where(atlas, "water", "river", entity.key), 2, "works", entity),
    }


def _person(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    birthplace, born, style = texts["birthplace"], texts["born"], texts["known_for"]
    if texts["role"] == "composer" and not style.endswith(NOUNS):
        style += " music"
    living = not texts["died"] and int(born or 0) >= LIVING
    derived = {
        "known_for": style,
        "verb": "is" if living else "was",
        "fame": "known" if living else "remembered",
    }
    if not (birthplace and born):
        derived.update({"lone_birthplace": birthplace, "lone_born": born, "birthplace": "", "born": ""})
    return derived


def _museum(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    painters = sorted({p.keys["painter"] for p in _where(atlas, "painting", "museum", entity.key)})
    return {"painters": listing(sample(painters, 3, entity))}


def _film(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    silent = texts["language"] == "silent"
    return {"silent": "recorded speech" if silent else "", "spoken": "" if silent else texts["language"]}


def _mountain(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    return {"lone_name": "" if texts["range"] else entity.name}


def _olympics(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    series = [g for g in atlas.kinds["olympics"] if g.keys["season"] == entity.keys["season"]]
    position = series.index(entity)
    city = atlas.linked(entity, "city")
    return {
        "before": series[position - 1].name if position else "",
        "after": series[position + 1].name if position + 1 < len(series) else "",
        "country": atlas.show(city, "country") if city else "",
    }


def _body(atlas: Atlas, entity: Entity, texts: dict[str, str]) -> dict[str, str]:
    return {"moons": _names(_where(atlas, "body", "parent", entity.key), 3, "moons", entity)}


DERIVED: dict[str, Callable[[Atlas, Entity, dict[str, str]], dict[str, str]]] = {
    "country": _country,
    "city": _city,
    "state": _state,
    "president": _president,
    "element": _element,
    "river": _river,
    "person": _person,
    "museum": _museum,
    "film": _film,
    "mountain": _mountain,
    "olympics": _olympics,
    "body": _body,
}
"""Facts that only some kinds have: from the atlas, the entity and its facts so far."""


class FactIndex:
    """The facts of all entities of an atlas, computed once, and which names are enough to tell one."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.facts = {str(e): entity_facts(atlas, e) for e in atlas.entities}
        self.uses = Counter(e.name for e in atlas.entities)

    def of(self, entity: Entity) -> dict[str, str]:
        """The facts of an entity by name; unknown ones are missing."""
        return self.facts[str(entity)]

    def clear(self, entity: Entity) -> bool:
        """Whether the name alone says which place is meant: there is more than one Georgia, and one Perth."""
        return entity.kind not in PLACES or (self.uses[entity.name] == 1 and "(" not in entity.key)
