"""Multiple-choice questions over the claims: four options of one kind, of which the tables make one right."""

from dataclasses import dataclass

from atlas.choice import rank, shuffled
from atlas.statements import Claim, Claims, in_turn, within
from lmtools.data.records import MultipleChoice

PARTS = {"test": 20, "dev": 5}
"""Questions of each kind of thing; dev holds the examples to show."""
OPTIONS = 4


@dataclass(frozen=True)
class PosedQuestion:
    """A question and the claim that it asks for."""

    question: MultipleChoice
    claim: Claim


def choice_questions(claims: Claims) -> dict[str, list[PosedQuestion]]:
    """The questions of each part: no thing is asked about twice, every position is right equally often."""
    parts: dict[str, list[PosedQuestion]] = {part: [] for part in PARTS}
    for kind in claims.by_kind:
        left = drawn(claims, kind, sum(PARTS.values()))
        for part, size in PARTS.items():
            chosen, left = left[:size], left[size:]
            for claim in chosen:
                parts[part].append(_pose(claims, claim, len(parts[part]) % OPTIONS))
    return {part: shuffled_by_id(items) for part, items in parts.items()}


def drawn(claims: Claims, kind: str, count: int) -> list[Claim]:
    """Claims of a kind that make good questions, its statements in turn, each entity once."""
    groups: dict[str, list[Claim]] = {}
    for claim in shuffled(claims.by_kind[kind], "choices"):
        if claim.statement.choice:
            groups.setdefault(claim.statement.ask[0], []).append(claim)
    once: dict[str, Claim] = {}
    for claim in in_turn(dict(sorted(groups.items()))):
        if len(once) == count:
            break
        if str(claim.entity) not in once and askable(claim, claims.rivals(claim)):
            once[str(claim.entity)] = claim
    return list(once.values())


def askable(claim: Claim, rivals: list[Claim]) -> bool:
    """Whether there are enough wrong answers, and neither question nor name gives the right one away."""
    options = [claim.value, *(rival.value for rival in rivals[: OPTIONS - 1])]
    in_question = any(within(option, claim.ask) for option in options)
    in_name = claim.value != claim.entity.name and within(claim.entity.name, claim.value)
    return len(options) == OPTIONS and not in_question and not in_name


def _pose(claims: Claims, claim: Claim, position: int) -> PosedQuestion:
    """The question with its right answer at that position, from 0."""
    options = shuffled((rival.value for rival in claims.rivals(claim)[: OPTIONS - 1]), claim, "options")
    options.insert(position, claim.value)
    question = MultipleChoice(
        id=f"{claim.entity.kind}-{claim.statement.field}-{rank(claim.ask)[:8]}",
        question=claim.ask,
        choices=tuple(options),
        answer=position,
        subject=claim.entity.kind,
    )
    return PosedQuestion(question, claim)


def shuffled_by_id(questions: list[PosedQuestion]) -> list[PosedQuestion]:
    """The kinds mixed, so that the first questions of a part are of many."""
    return sorted(questions, key=lambda item: rank("order", item.question.id))
