"""`lmtools generate --best-of`: of several completions, the one that a user's reward model ranks first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmtools.core.errors import LmtoolsError

if TYPE_CHECKING:
    from lmtools.generation.requests import Request
    from lmtools.hyre.reward import RewardModel

TEMPERATURE = 0.8
"""At 0 all completions would be the same."""


def check(
    best_of: int | None,
    reward: Path | None,
    weights: Path | None,
    samples: int | None,
    raw: bool,
    temperature: float | None,
) -> None:
    """Whether the options go together.

    Raises:
        LmtoolsError: they do not.
    """
    if best_of is None or reward is None or weights is None:
        raise LmtoolsError(
            "--best-of N, --reward RUN and --weights FILE go together",
            fix="lmtools generate --prompt TEXT --best-of 4 --reward runs/hyre-train "
            "--weights runs/hyre-adapt",
        )
    if samples is not None:
        raise LmtoolsError("--best-of says how many completions are written", fix="leave --samples out")
    if raw:
        raise LmtoolsError("--best-of compares answers to what a user says", fix="leave --raw out")
    if temperature == 0 and best_of > 1:
        raise LmtoolsError(
            f"{best_of} greedy completions are one and the same", fix="give a --temperature above 0"
        )


def sampling(best_of: int, temperature: float | None) -> dict[str, Any]:
    """The settings of generation that the options stand for."""
    return {"samples": best_of, "temperature": TEMPERATURE if temperature is None else temperature}


@dataclass(frozen=True)
class Ranker:
    """A reward model, and the system message that answers were written under, if any."""

    reward: "RewardModel"
    system: str | None

    def rank(self, requests: "Sequence[Request]", rows: list[dict[str, Any]]) -> None:
        """Give every completion its ``reward`` and put the best one of each row first, in place.

        A completion without text cannot be read: its reward is None, and it comes last.
        """
        from lmtools.models.features import Answered

        places = [
            (row, place)
            for row, one in enumerate(rows)
            for place, completion in enumerate(one["completions"])
            if completion["text"].strip()
        ]
        answered = [
            Answered(self._turns(requests[row]), rows[row]["completions"][place]["text"])
            for row, place in places
        ]
        rewards = dict(zip(places, self.reward(answered), strict=True)) if answered else {}
        self.reward.reader.close()
        for row, one in enumerate(rows):
            for place, completion in enumerate(one["completions"]):
                value = rewards.get((row, place))
                completion["reward"] = None if value is None else float(value)
            one["completions"].sort(key=lambda done: (done["reward"] is None, -(done["reward"] or 0.0)))

    def _turns(self, request: "Request") -> tuple[Any, ...]:
        from lmtools.models.chat import Message

        turns = request.conversation()
        if self.system is not None and turns[0].role != "system":
            turns = [Message("system", self.system), *turns]
        return tuple(turns)


def open_ranker(run: Path, weights: Path, system: str | None) -> Ranker:
    """The ranker of a trained run under the weights of a user; raises what ``open_reward`` does."""
    from lmtools.hyre.reward import open_reward

    return Ranker(open_reward(run, weights), system)
