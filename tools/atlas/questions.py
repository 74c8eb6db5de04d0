"""Two-hop and comparison questions over the entities, in the question contract."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from atlas.choice import pick, rank, shuffled
from atlas.entities import Entity
from atlas.facts import FactIndex
from atlas.passages import applicable, templates
from lmtools.data.records import Question

SPLITS = {"train": 900, "dev": 200, "test": 500}
"""Questions per split."""
SAME = 7
"""In tenths, how often a partner is sought that makes the answer yes; fewer are found than of the others."""


@dataclass(frozen=True)
class Bridge:
    """A family of two-hop questions: page of ``first`` -> entity in ``link`` -> its fact ``answer``."""

    id: str
    first: str
    link: str
    answer: str
    share: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A family of comparisons of two entities by ``field``: which is lower or higher, or whether equal."""

    id: str
    kind: str
    field: str
    share: int
    texts: tuple[str, ...]
    by: tuple[str, ...]
    gap: int = 1
    lower: bool = False
    equal: bool = False
    same: str = ""


def bare(text: str) -> str:
    """An answer as one would give it: without the article."""
    return text.removeprefix("the ")


def aliases(answer: str) -> tuple[str, ...]:
    """Other ways to give the answer: with its article, or a town without the region it lies in."""
    ways = (answer, answer.partition(", ")[0])
    return tuple(way for way in dict.fromkeys(ways) if way != bare(answer))


class Writer:
    """Writes questions about what is known."""

    def __init__(self, index: FactIndex) -> None:
        self.index = index
        self.atlas, self.facts, self.uses = index.atlas, index.facts, index.uses

    def bridges(self, family: Bridge) -> Iterator[Question]:
        """All questions of a family, in a fixed pseudo-random order."""
        for first in shuffled(filter(self.index.clear, self.atlas.kinds[family.first]), family.id):
            second = self.atlas.linked(first, family.link)
            answer = self.facts[str(second)].get(family.answer) if second else None
            if second is None or not answer:
                continue
            usable = [t for t in family.texts if self._fits(t, first)]
            text = pick(usable, family.id, first).format(a=self.facts[str(first)])
            yield self._question(family.id, text, answer, (first, second), "bridge")

    def _fits(self, text: str, first: Entity) -> bool:
        """Whether all facts of a wording are known."""
        try:
            text.format(a=self.facts[str(first)])
        except KeyError:
            return False
        return True

    def comparisons(self, family: Comparison) -> Iterator[Question]:
        """One question per entity and partner, in a fixed pseudo-random order."""
        entities = [e for e in self.atlas.kinds[family.kind] if self.facts[str(e)].get(family.field)]
        entities = [e for e in entities if self.uses[e.name] == 1 and self.index.clear(e)]
        described = self._descriptions(family, entities)
        for first in shuffled(entities, family.id):
            equal = int(rank(family.id, first, "same")[:8], 16) % 10 < SAME
            fitting = (
                e for e in shuffled(entities, family.id, first) if self._comparable(family, first, e, equal)
            )
            second = next(fitting, None)
            if second is None:
                continue
            x, y = (pick(described[str(e)], family.id, e, "by") for e in (first, second))
            text = pick(family.texts, family.id, first).format(x=x, y=y)
            answer = self._verdict(family, first, second)
            yield self._question(family.id, text, answer, (first, second), "comparison")

    def _descriptions(self, family: Comparison, entities: list[Entity]) -> dict[str, list[str]]:
        """The ways to refer to each entity that fit no other one; at least its name."""
        ways = {
            str(e): [w.format_map(self.facts[str(e)]) for w in applicable(family.by, self.facts[str(e)])]
            for e in entities
        }
        uses = Counter(text for texts in ways.values() for text in texts)
        return {e: [t for t in texts if uses[t] == 1] or texts[:1] for e, texts in ways.items()}

    def _comparable(self, family: Comparison, first: Entity, second: Entity, equal: bool) -> bool:
        a, b = self.facts[str(first)], self.facts[str(second)]
        if first.name == second.name or a.get(family.same) != b.get(family.same):
            return False
        x, y = a[family.field], b[family.field]
        return (x == y) == equal if family.equal else abs(int(x) - int(y)) >= family.gap

    def _verdict(self, family: Comparison, first: Entity, second: Entity) -> str:
        x, y = (self.facts[str(e)][family.field] for e in (first, second))
        if family.equal:
            return "yes" if x == y else "no"
        return (first if (int(x) < int(y)) == family.lower else second).name

    def _question(
        self, family: str, text: str, answer: str, gold: tuple[Entity, Entity], kind: str
    ) -> Question:
        return Question(
            id=f"{family}-{rank(text)[:8]}",
            question=(text[:1].upper() + text[1:]).replace("??", "?"),
            answer=bare(answer),
            aliases=aliases(answer),
            supporting=(gold[0].title, gold[1].title),
            kind=kind,
        )


def questions(index: FactIndex) -> list[Question]:
    """All questions, ordered by the hash of their id: no two share both their gold passages."""
    raw = templates("questions.yaml")
    writer = Writer(index)
    by_gold: dict[frozenset[str], Question] = {}
    for family in (Bridge(**entry) for entry in raw["bridge"]):
        _take(by_gold, writer.bridges(family), family.share)
    for contrast in (Comparison(**entry) for entry in raw["comparison"]):
        _take(by_gold, writer.comparisons(contrast), contrast.share)
    return sorted(by_gold.values(), key=lambda question: rank("split", question.id))


def _take(by_gold: dict[frozenset[str], Question], new: Iterator[Question], share: int) -> None:
    """Add at most ``share`` questions whose gold pair is not taken yet."""
    fresh = (question for question in new if frozenset(question.supporting) not in by_gold)
    by_gold.update((frozenset(question.supporting), question) for question in islice(fresh, share))


def splits(index: FactIndex) -> dict[str, list[Question]]:
    """The questions of each split, two thirds of them bridges; what is over ``SPLITS`` is left out."""
    everything = questions(index)
    rest = {kind: [q for q in everything if q.kind == kind] for kind in ("bridge", "comparison")}
    parts = {}
    for name, size in SPLITS.items():
        bridges = round(size * 2 / 3)
        chosen = rest["bridge"][:bridges] + rest["comparison"][: size - bridges]
        taken = {q.id for q in chosen}
        rest = {kind: [q for q in left if q.id not in taken] for kind, left in rest.items()}
        parts[name] = shuffled(chosen, "order")
    return parts
