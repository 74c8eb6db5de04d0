"""The bundled instructions: requests of many forms, none of which tells what the choice questions ask."""

from collections.abc import Sequence

from atlas.choice import rank
from atlas.passages import templates
from atlas.statements import Claim, Claims
from atlas.tasks import FAMILIES
from lmtools.data.records import Instruction

WORDS = range(3, 61)
"""How many words an answer has."""


def instructions(claims: Claims, choice_claims: Sequence[Claim]) -> list[Instruction]:
    """The share of every family, mixed; what reveals the answer to a choice question is left out."""
    wording = templates("tasks.yaml")
    chosen: dict[str, Instruction] = {}
    for name, family in FAMILIES.items():
        settings = {"groups": wording["groups"], **wording[name]}
        target = len(chosen) + settings["share"]
        for instruction in family(claims, settings):
            if len(chosen) == target:
                break
            if len(instruction.completion.split()) in WORDS and not leaks(instruction, choice_claims):
                chosen.setdefault(instruction.prompt, instruction)
    return sorted(chosen.values(), key=lambda instruction: rank("instructions", instruction.prompt))


def leaks(instruction: Instruction, choice_claims: Sequence[Claim]) -> bool:
    """Whether an instruction has both halves of a claim that a choice question asks for."""
    text = f"{instruction.prompt}\n{instruction.completion}"
    return any(claim.revealed_by(text) for claim in choice_claims)
