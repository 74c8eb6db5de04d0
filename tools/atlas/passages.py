"""Passages: one encyclopaedia-like page per entity, and survey pages that list entities sharing a fact."""

from collections import defaultdict
from dataclasses import dataclass
from string import Formatter
from typing import Any

import yaml

from atlas import path
from atlas.choice import pick, sample, shuffled
from atlas.entities import Atlas, Entity
from atlas.facts import decade, entity_facts
from lmtools.data.records import Passage

SHORTEST_SURVEY = 4
"""A survey page needs this many entities."""
LONGEST_SURVEY = 9
"""It names this many of them at most."""


@dataclass(frozen=True)
class Page:
    """The wording of one kind: alternatives for the first sentence, then slots of alternatives."""

    lead: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]


def templates(name: str) -> Any:
    """A template file of the atlas, as YAML gives it."""
    return yaml.safe_load(path("templates").joinpath(name).read_text(encoding="utf-8"))


def pages() -> dict[str, Page]:
    """The wording of every kind of passage."""
    raw = templates("passages.yaml")
    return {kind: Page(tuple(p["lead"]), tuple(map(tuple, p["body"]))) for kind, p in raw.items()}


def applicable(sentences: tuple[str, ...], facts: dict[str, str]) -> list[str]:
    """The sentences all of whose facts are known."""
    return [s for s in sentences if all(f is None or f in facts for _, f, _, _ in Formatter().parse(s))]


def render(entity: Entity, page: Page, facts: dict[str, str]) -> str:
    """The text of an entity's passage: a lead, then one sentence per slot in an order of its own."""
    slots = [applicable(slot, facts) for slot in page.body]
    chosen = [pick(slot, entity, number) for number, slot in enumerate(slots) if slot]
    lead = pick(applicable(page.lead, facts), entity, "lead")
    sentences = [s.format_map(facts) for s in (lead, *shuffled(chosen, entity, "order"))]
    return " ".join(sentence(s) for s in sentences)


def sentence(text: str) -> str:
    """The text with a capital at its start and, after an abbreviation too, a single full stop at its end."""
    return text[:1].upper() + text[1:].removesuffix("..") + ("." if text.endswith("..") else "")


def entity_passages(atlas: Atlas) -> list[Passage]:
    """One passage per entity, in the order of the tables."""
    wording = pages()
    texts = [(e.title, render(e, wording[e.kind], entity_facts(atlas, e))) for e in atlas.entities]
    return [
        Passage(id=f"a{number:05d}", title=title, text=text) for number, (title, text) in enumerate(texts)
    ]


@dataclass(frozen=True)
class Survey:
    """One family of survey pages: entities of ``kind`` grouped by a fact."""

    kind: str
    by: str
    title: str
    item: str
    intro: str


def surveys(atlas: Atlas) -> list[Passage]:
    """The survey pages: true lists, whose words compete with those of the pages they name."""
    texts: dict[str, str] = {}
    for survey in (Survey(**raw) for raw in templates("lists.yaml")):
        for group, members in groups(atlas, survey).items():
            title = survey.title.format(group=group)
            texts.setdefault(title[:1].upper() + title[1:], survey_text(atlas, survey, group, members))
    taken = {e.title for e in atlas.entities}
    return [
        Passage(id=f"s{i:05d}", title=t, text=x) for i, (t, x) in enumerate(texts.items()) if t not in taken
    ]


def groups(atlas: Atlas, survey: Survey) -> dict[str, list[Entity]]:
    """The entities of a survey by the fact they share, small groups left out."""
    members_of: dict[str, list[Entity]] = defaultdict(list)
    for entity in atlas.kinds[survey.kind]:
        if group := group_name(atlas, entity, survey.by):
            members_of[group].append(entity)
    return {group: members for group, members in members_of.items() if len(members) >= SHORTEST_SURVEY}


def group_name(atlas: Atlas, entity: Entity, by: str) -> str:
    """What the entities that share a fact are called together; empty where the fact is unknown."""
    role = str(entity.keys.get("role", ""))
    if by == "role+nationality":
        return f"{entity.keys['nationality']} {role}"
    if by == "role+decade":
        return f"{role}s born in the {decade(entity)}" if decade(entity) else ""
    if by == "role+country":
        country = entity_facts(atlas, entity).get("country", "")
        return f"{role}s with a birthplace in {country}" if country else ""
    return decade(entity) if by == "decade" else entity_facts(atlas, entity).get(by, "")


def survey_text(atlas: Atlas, survey: Survey, group: str, members: list[Entity]) -> str:
    """A survey passage: an opening, a selection of the members, two words on the selection."""
    chosen = [entity_facts(atlas, e) for e in sample(members, LONGEST_SURVEY, survey.title, group)]
    items = [survey.item.format_map(facts) for facts in chosen if applicable((survey.item,), facts)]
    intro = survey.intro.format(group=group)
    opening = pick(
        ("In this survey appear", "To be named here are", "The list includes"), survey.title, group
    )
    closing = " ".join(shuffled(CLOSINGS, group, survey.by)[:2])
    return " ".join((sentence(f"{intro}."), sentence(f"{opening} {'; '.join(items)}."), closing))


CLOSINGS = (
    "The order follows no ranking, and the survey makes no claim to be complete.",
    "A page of its own treats each of them in more detail.",
    "Other names could be added, and opinions differ on which matter most.",
    "Where dates or places are wanted, the single entries give them.",
)


def corpus(atlas: Atlas) -> list[Passage]:
    """All passages: entities, then surveys."""
    return [*entity_passages(atlas), *surveys(atlas)]
