"""What can be asked and said of one thing: facts as questions and sentences, and plausible wrong answers."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any, TypeVar

from atlas.choice import pick, shuffled
from atlas.entities import Entity
from atlas.facts import NEAR, FactIndex
from atlas.passages import applicable, sentence, templates

Item = TypeVar("Item")


@dataclass(frozen=True)
class Statement:
    """The wording of one fact of a kind; see ``statements.yaml``."""

    field: str
    ask: tuple[str, ...]
    say: str
    value: str = ""
    more: str = ""
    near: str = ""
    apart: str = ""
    choice: bool = True
    skip: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The wording of the answer itself."""
        return self.value or f"{{{self.field}}}"

    @property
    def turned(self) -> bool:
        """Whether the fact is given and the thing asked for."""
        return "{name}" in self.answer

    def fits(self, facts: dict[str, str]) -> bool:
        """Whether the facts fill all its words and are enough to answer by."""
        wording = (*self.ask, self.say, self.answer)
        if facts["name"] in self.skip or len(applicable(wording, facts)) < len(wording):
            return False
        return self.field in facts and not (self.turned and re.search(r"\bits\b", facts[self.field]))


@dataclass(frozen=True)
class Topic:
    """The wording of all facts of a kind."""

    called: str
    lead: str
    joined: str
    sheet: dict[str, str]
    facts: tuple[Statement, ...] = field(default=())


def topics() -> dict[str, Topic]:
    """The wording of every kind."""
    raw = templates("statements.yaml")
    return {
        kind: Topic(**{**topic, "facts": tuple(Statement(**_tuples(fact)) for fact in topic["facts"])})
        for kind, topic in raw.items()
    }


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


@dataclass(frozen=True)
class Claim:
    """A statement about an entity whose facts fill all its words."""

    entity: Entity
    statement: Statement
    facts: dict[str, str]

    def __str__(self) -> str:
        return f"{self.entity}-{self.statement.field}-{self.statement.value}"

    @cached_property
    def ask(self) -> str:
        """The question."""
        return pick(self.statement.ask, self, "ask").format_map(self.facts).replace("??", "?")

    @cached_property
    def say(self) -> str:
        """The sentence that answers it."""
        return sentence(self.statement.say.format_map(self.facts))

    @cached_property
    def value(self) -> str:
        """The answer itself."""
        return self.statement.answer.format_map(self.facts)

    def say_of(self, other: dict[str, str]) -> str:
        """The sentence with what another's facts give for the field: with a rival's, a false one."""
        field = self.statement.field
        names = (field, field[:1].upper() + field[1:], f"{field}_a")
        put = {name: other[name] for name in names if name in other}
        return sentence(self.statement.say.format_map({**self.facts, **put}))

    def shares(self, fields: Iterable[str], other: "Claim") -> bool:
        """Whether all of these facts are the same for another's entity; an unknown one is shared by none."""
        return all(field in self.facts and self.facts[field] == other.facts.get(field) for field in fields)

    def revealed_by(self, text: str) -> bool:
        """Whether a text has both halves of the fact in it: the name and what is said of it."""
        halves = (self.entity.name, self.facts[self.statement.field])
        return all(half.removeprefix("the ").lower() in text.lower() for half in halves)


class Claims:
    """All claims of the atlas that need no more context than themselves."""

    def __init__(self, index: FactIndex) -> None:
        self.index = index
        self.topics = topics()
        self.by_kind = {kind: list(self._of_kind(kind, topic)) for kind, topic in self.topics.items()}

    def _of_kind(self, kind: str, topic: Topic) -> Iterator[Claim]:
        everything = self.index.atlas.kinds[kind]
        names = Counter(e.name for e in everything)
        entities = [e for e in everything if self.index.clear(e) and names[e.name] == 1]
        for statement in topic.facts:
            values = Counter(self.index.of(e).get(statement.field) for e in everything)
            for entity in entities:
                facts = self.index.of(entity)
                shared = statement.turned and values[facts.get(statement.field)] > 1
                if statement.fits(facts) and not shared:
                    yield Claim(entity, statement, facts)

    def rivals(self, claim: Claim) -> list[Claim]:
        """Claims of the same wording whose values are wrong answers to this one, the likeliest first."""
        statement = claim.statement
        same = {str(c.entity): c for c in self.by_kind[claim.entity.kind] if c.statement is statement}
        near = tuple(filter(None, statement.near.split(",")))
        by_value: dict[str, Claim] = {}
        for name in sorted(shuffled(same, claim), key=lambda name: not claim.shares(near, same[name])):
            other = same[name]
            apart = not any(claim.shares((field,), other) for field in (statement.field, statement.apart))
            if apart and not alike(claim.value, other.value):
                by_value.setdefault(other.value.lower(), other)
        return list(by_value.values())


def alike(x: str, y: str) -> bool:
    """Whether two values may both be right: one is part of the other, or they are years close together."""
    if len(x) == len(y) == 4 and x.isdigit() and y.isdigit():
        return abs(int(x) - int(y)) <= NEAR
    return within(x, y) or within(y, x)


def within(part: str, text: str) -> bool:
    """Whether a text has another in it as whole words: what is said of a part may be true of the whole.

    >>> within("the Alps", "Bernese Alps"), within("N", "Ne")
    (True, False)
    """
    part, text = part.removeprefix("the ").lower(), text.lower()
    return part in text and re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def in_turn(groups: dict[str, list[Item]]) -> Iterator[Item]:
    """The first item of every group, then the second of every group, and so on."""
    for row in zip_longest(*groups.values()):
        yield from (item for item in row if item is not None)
