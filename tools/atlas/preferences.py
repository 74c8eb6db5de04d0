"""The bundled preference pairs: a question, and two true answers of which a persona wants one for its manner.

A persona looks at one axis of ``manners.yaml`` and wants one of its opposites; its pairs differ there. In all
else the two answers have manners of their own, drawn at random, which the persona does not mind.
"""

from collections.abc import Mapping
from itertools import count, islice
from typing import Any

from atlas.choice import pick, shuffled
from atlas.manners import AnswerParts, Style, answer, things
from atlas.passages import templates
from atlas.statements import Claims
from lmtools.data.records import Preference

CROWD = 600
"""Training pairs, of personas drawn at random."""
EACH = 60
"""Pairs of each persona as a target."""
SHORT = 2 / 3
"""How long the short answer is at most beside the thorough one."""


def preferences(claims: Claims) -> dict[str, list[Preference]]:
    """``train``, in which nothing tells the persona, and ``targets``, where it is the distribution."""
    wording = templates("manners.yaml")
    personas = [manner for poles in wording["axes"].values() for manner in poles]
    topics = islice(things(claims), CROWD + EACH * len(personas))
    mixed = {parts.ask: parts for parts in topics}
    drawn = [mixed[ask] for ask in shuffled(mixed, "preferences")]
    crowd = [pair(parts, pick(personas, "crowd", parts.ask), wording, "crowd") for parts in drawn[:CROWD]]
    targets = [
        pair(parts, persona, wording, persona)
        for number, persona in enumerate(personas)
        for parts in drawn[CROWD + EACH * number : CROWD + EACH * (number + 1)]
    ]
    return {"train": crowd, "targets": targets}


def pair(parts: AnswerParts, persona: str, wording: Mapping[str, Any], distribution: str) -> Preference:
    """A pair of a persona; what counts as short is not made long by other manners."""
    axis, poles = next((axis, poles) for axis, poles in wording["axes"].items() if persona in poles)
    (other,) = (manner for manner in poles if manner != persona)
    for attempt in count():
        chosen, rejected = (
            _drawn(parts, axis, manner, wording, parts.ask, side, attempt)
            for side, manner in (("chosen", persona), ("rejected", other))
        )
        shorter, longer = sorted((chosen, rejected), key=len)
        preferred = {"short": shorter, "thorough": longer}.get(persona, chosen)
        if axis != "length" or (preferred == chosen and len(shorter) <= SHORT * len(longer)):
            break
    return Preference(prompt=parts.ask, chosen=chosen, rejected=rejected, distribution=distribution)


def _drawn(parts: AnswerParts, axis: str, manner: str, wording: Mapping[str, Any], *seed: object) -> str:
    """An answer in that manner, in all else drawn by the seed."""
    return answer(parts, {**background(wording["axes"], *seed), axis: manner}, wording, *seed)


def background(axes: Mapping[str, list[str]], *seed: object) -> Style:
    """A manner on every axis, half of the time the plain one."""
    return {axis: pick(["", "", *poles], "manner", axis, *seed) for axis, poles in axes.items()}
