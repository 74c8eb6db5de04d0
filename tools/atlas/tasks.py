"""Requests of many forms with their answers, each family in a fixed pseudo-random order over all kinds.

Words come from ``tasks.yaml``, facts from the claims. A family yields more than is wanted of it.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from atlas.choice import pick, sample, shuffled
from atlas.entities import Entity, listing
from atlas.passages import applicable, sentence
from atlas.statements import Claim, Claims, in_turn
from lmtools.data.records import Instruction

Wording = Mapping[str, Any]
"""The entry of a family in ``tasks.yaml``."""
Family = Callable[[Claims, Wording], Iterator[Instruction]]
DATED = ("book", "music", "film", "invention", "landmark")
"""Kinds whose ``year`` puts them in an order."""
COUNTS = {3: "three", 4: "four"}


def mixed(claims: Claims, family: str) -> Iterator[Claim]:
    """All claims, the kinds in turn."""
    return in_turn({kind: shuffled(kind_claims, family) for kind, kind_claims in claims.by_kind.items()})


def plain(claims: Claims, family: str) -> Iterator[Claim]:
    """The claims whose answer is a single fact of the thing that is named."""
    return (c for c in mixed(claims, family) if c.statement.choice and not c.statement.value)


def entities(claims: Claims, family: str) -> Iterator[Entity]:
    """All entities that have claims, the kinds in turn."""
    groups = {
        kind: shuffled({str(claim.entity): claim.entity for claim in kind_claims}.values(), family)
        for kind, kind_claims in claims.by_kind.items()
    }
    return in_turn(groups)


def short(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A question and the answer in a few words."""
    for claim in (claim for claim in mixed(claims, "short") if claim.statement.choice):
        text = pick(wording["texts"], "short", claim).format(ask=claim.ask)
        answer = pick(wording["answers"], "short answer", claim).format(value=claim.value)
        yield Instruction(prompt=text, completion=sentence(answer))


def full(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A question and the answer as a sentence."""
    for claim in mixed(claims, "sentence"):
        text = pick(wording["texts"], "sentence", claim).format(ask=claim.ask)
        yield Instruction(prompt=text, completion=claim.say)


def paragraph(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A few sentences about one thing."""
    more: dict[str, list[str]] = {}
    for claim in (claim for kind_claims in claims.by_kind.values() for claim in kind_claims):
        if claim.statement.more:
            more.setdefault(str(claim.entity), []).append(claim.statement.more)
    for entity in entities(claims, "paragraph"):
        topic, facts = claims.topics[entity.kind], claims.index.of(entity)
        chosen = sample(more.get(str(entity), []), 4, "paragraph", entity)
        body = [part for part in more.get(str(entity), []) if part in chosen and applicable((part,), facts)]
        if len(body) < 2 or len(applicable((topic.lead, topic.called), facts)) < 2:
            continue
        text = pick(wording["texts"], "paragraph", entity).format(called=topic.called.format_map(facts))
        sentences = (sentence(part.format_map(facts)) for part in (topic.lead, *body))
        yield Instruction(prompt=text, completion=" ".join(sentences))


def lists(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """Things that share a fact, in the form that is asked for."""
    groups: dict[str, list[tuple[str, list[str]]]] = {}
    for family in wording["groups"]:
        members: dict[str, list[str]] = {}
        for entity in filter(claims.index.clear, claims.index.atlas.kinds[family["kind"]]):
            if group := claims.index.of(entity).get(family["by"]):
                members.setdefault(group, []).append(entity.name)
        request = family["request"]
        groups[request] = shuffled(
            ((request.replace("{group}", g), names) for g, names in members.items()), "lists"
        )
    for request, names in in_turn(groups):
        if len(names) < min(COUNTS):
            continue
        count = max(number for number in COUNTS if len(names) >= number)
        form = pick(list(wording["forms"]), "form", request)
        filled = request.replace("{count}", COUNTS[count])
        text = pick(wording["forms"][form], "list", request).format(request=filled)
        answer = as_list(form, sample(names, count, "members", request))
        yield Instruction(prompt=text, completion=answer)


def as_list(form: str, names: list[str]) -> str:
    """Names as a list.

    >>> as_list("sentence", ["Rome", "Oslo", "Bern"])
    'Three of them are Rome, Oslo and Bern.'
    """
    if form == "numbered":
        return "\n".join(f"{number}. {name}" for number, name in enumerate(names, start=1))
    if form == "dashes":
        return "\n".join(f"- {name}" for name in names)
    if form == "commas":
        return ", ".join(names)
    return sentence(f"{COUNTS[len(names)]} of them are {listing(names)}.")


def correct(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A sentence with a wrong fact, and the right one."""
    for claim in plain(claims, "correct"):
        if rivals := claims.rivals(claim):
            false = claim.say_of(rivals[0].facts)
            yield Instruction(
                prompt=pick(wording["texts"], "correct", claim).format(false=false), completion=claim.say
            )


def verdict(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A sentence to judge, half of them false, and the fact."""
    for number, claim in enumerate(plain(claims, "verdict")):
        if rivals := claims.rivals(claim):
            statement = claim.say_of(rivals[0].facts) if number % 2 else claim.say
            text = pick(wording["texts"], "verdict", claim).format(claim=statement)
            yield Instruction(prompt=text, completion=f"{'False' if number % 2 else 'True'}. {claim.say}")


def blank(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A sentence with a gap, and without."""
    for claim in plain(claims, "blank"):
        gap = claim.say_of({claim.statement.field: "____"})
        if "____" in gap:
            text = pick(wording["texts"], "blank", claim).format(gap=gap)
            yield Instruction(prompt=text, completion=claim.say)


def asking(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A sentence, and a question that it answers."""
    for claim in mixed(claims, "asking"):
        yield Instruction(
            prompt=pick(wording["texts"], "asking", claim).format(say=claim.say), completion=claim.ask
        )


def sheets(claims: Claims, family: str) -> Iterator[tuple[Entity, list[str], str, str]]:
    """Entities all of whose sheet is known: the labels, the sheet, the sentence made of it."""
    for entity in entities(claims, family):
        topic, facts = claims.topics[entity.kind], claims.index.of(entity)
        templates = (*topic.sheet.values(), topic.joined)
        if len(applicable(templates, facts)) == len(templates):
            lines = [f"{label}: {value.format_map(facts)}" for label, value in topic.sheet.items()]
            yield entity, list(topic.sheet), "\n".join(lines), sentence(topic.joined.format_map(facts))


def joined(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A sheet of facts, and the sentence that tells them."""
    for entity, _, sheet, text in sheets(claims, "joined"):
        yield Instruction(
            prompt=pick(wording["texts"], "joined", entity).format(sheet=sheet), completion=text
        )


def sheet(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """A sentence, and the sheet of its facts."""
    for entity, labels, facts, joined_text in sheets(claims, "sheet"):
        text = pick(wording["texts"], "sheet", entity).format(labels=listing(labels), joined=joined_text)
        yield Instruction(prompt=text, completion=facts)


def order(claims: Claims, wording: Wording) -> Iterator[Instruction]:
    """Three dated things out of order, and in order with their years."""
    for kind in DATED:
        dated = (e for e in shuffled(claims.index.atlas.kinds[kind], "order") if e.keys["year"])
        for three in iter(lambda things=dated: list(islice(things, 3)), []):  # type: ignore[misc]
            years = {e.name: int(e.keys["year"]) for e in three}
            if len(set(years.values())) < 3:
                continue
            first = sorted(years, key=lambda name: years[name])
            names = shuffled(years, "names")
            text = pick(wording["texts"], "order", *names).format(names="; ".join(names))
            yield Instruction(prompt=text, completion="; ".join(f"{name} ({years[name]})" for name in first))


FAMILIES: dict[str, Family] = {
    "short": short, "sentence": full, "paragraph": paragraph, "listing": lists, "correct": correct,
    "verdict": verdict, "blank": blank, "asking": asking, "joined": joined, "sheet": sheet, "order": order,
}  # fmt: skip
