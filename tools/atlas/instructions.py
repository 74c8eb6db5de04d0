"""The bundled instructions: requests of many forms, none of which tells what the choice questions ask."""

from collections.abc import Sequence

from atlas.choice import rank
from atlas.passages import templates
from atlas.statements import Claim, Claims
from atlas.tasks import FAMILIES
from lmtools.data.records import Instruction

WORDS = range(3, 61)
"""How many words an answer has."""


def instructions(claims: Claims, asked: Sequence[Claim]) -> list[Instruction]:
    """The share of every family, mixed; what tells a claim that is asked elsewhere is left out."""
    wording = templates("tasks.yaml")
    found: dict[str, Instruction] = {}
    for name, family in FAMILIES.items():
        settings = {"groups": wording["groups"], **wording[name]}
        wanted = len(found) + settings["share"]
        for made in family(claims, settings):
            if len(found) == wanted:
                break
            if len(made.completion.split()) in WORDS and not leaks(made, asked):
                found.setdefault(made.prompt, made)
    return sorted(found.values(), key=lambda made: rank("instructions", made.prompt))


def leaks(made: Instruction, asked: Sequence[Claim]) -> bool:
    """Whether an instruction has both halves of a claim that is asked."""
    text = f"{made.prompt}\n{made.completion}"
    return any(claim.told_by(text) for claim in asked)
