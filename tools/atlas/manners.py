"""One fact in many manners: short or thorough, formal or plain-spoken, cautious or sure, friendly or not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from atlas.choice import pick, sample, shuffled
from atlas.passages import applicable, sentence
from atlas.statements import Claim, Claims, in_turn

DETAILS = range(3, 5)
"""How many more sentences a thorough answer has."""
LINKED = 3
"""One of so many further sentences is told plainly, the others in the answer's manner."""
TITLES = ("President ",)
"""What keeps its capital inside a sentence."""
Style = Mapping[str, str]
"""The manner on each axis of ``manners.yaml``; no entry, or an empty one, is the plain manner."""


@dataclass(frozen=True)
class AnswerParts:
    """What an answer to ``ask`` may consist of; clauses have neither capital nor full stop."""

    ask: str
    value: str
    clause: str
    details: tuple[str, ...]


def things(claims: Claims) -> Iterator[AnswerParts]:
    """One question about each thing of which enough is known for a thorough answer, the kinds in turn."""
    by_kind: dict[str, list[AnswerParts]] = {}
    for kind, kind_claims in claims.by_kind.items():
        by_entity: dict[str, list[Claim]] = {}
        for claim in kind_claims:
            by_entity.setdefault(str(claim.entity), []).append(claim)
        topics = (_answer_parts(claims, by_entity[name]) for name in shuffled(by_entity, "preferences"))
        by_kind[kind] = [topic for topic in topics if topic is not None]
    return in_turn(by_kind)


def _answer_parts(claims: Claims, about: list[Claim]) -> AnswerParts | None:
    """A question about a thing, if there is one with enough to add to its answer."""
    lead = claims.topics[about[0].entity.kind].lead
    for claim in shuffled((claim for claim in about if claim.statement.choice), "asked"):
        field = claim.statement.field
        wording = (lead, *(other.statement.more for other in about if other.statement.field != field))
        fitting = [text for text in applicable(wording, claim.facts) if text and f"{{{field}}}" not in text]
        details = tuple(dict.fromkeys(clause(text, claim.facts) for text in fitting))
        if len(details) >= min(DETAILS):
            return AnswerParts(claim.ask, claim.value, clause(claim.statement.say, claim.facts), details)
    return None


def clause(template: str, facts: Mapping[str, str]) -> str:
    """A sentence as it stands after other words.

    >>> clause("{Name} flows into {sea}.", {"name": "the Ob", "Name": "The Ob", "sea": "the Kara Sea"})
    'the Ob flows into the Kara Sea'
    """
    start = template.replace("{Name}", "{name}", 1) if template.startswith("{Name}") else template
    lowered = start if start.startswith(TITLES) else start[:1].lower() + start[1:]
    return lowered.format_map(facts).removesuffix(".")


def answer(parts: AnswerParts, style: Style, wording: Mapping[str, Any], *seed: object) -> str:
    """What is told, in a manner; the wording of ``manners.yaml`` is drawn by the seed."""
    manners = {
        manner: wording["manners"][manner] for manner in style.values() if manner in wording["manners"]
    }
    voices = [manner for manner in manners if "frames" in manners[manner]]
    voice = voices[-1] if voices else ""
    body = [_core(parts, style, manners.get(voice, {}), wording, *seed)]
    if style.get("length") == "thorough":
        links = shuffled((link for voice in voices for link in manners[voice]["links"]), *seed)
        for detail in _details(parts, *seed):
            plainly = pick(range(LINKED), "linked", detail, *seed) == 0
            link = links.pop() if links and not plainly else "{clause}"
            body.append(sentence(f"{link.format(clause=detail)}."))
    before, after = [], []
    for manner, words in manners.items():
        edges = pick(("both", "openings", "closings", *(["none"] if manner == voice else [])), manner, *seed)
        if edges in ("both", "openings"):
            before.append(pick(words["openings"], "opening", manner, *seed))
        if edges in ("both", "closings"):
            after.append(pick(words["closings"], "closing", manner, *seed))
    return " ".join((*before, *body, *reversed(after)))


def _core(
    parts: AnswerParts, style: Style, voice: Mapping[str, Any], wording: Mapping[str, Any], *seed: object
) -> str:
    """The answer itself: bare or as a sentence, in the frame of the manner that holds it."""
    text = parts.clause
    if style.get("length") == "short":
        forms = wording["clauses" if voice else "answers"]
        text = pick(forms, "answer", *seed).format(value=parts.value)
    frame = pick(voice.get("frames", ["{clause}"]), "frame", *seed)
    return sentence(f"{frame.format(clause=text)}.")


def _details(parts: AnswerParts, *seed: object) -> list[str]:
    """Some of the details, in the order in which they are told."""
    chosen = sample(parts.details, pick(DETAILS, "count", *seed), "details", *seed)
    return [detail for detail in parts.details if detail in chosen]
