"""What became of every pair and with every label, as files of a run: for people, and for the run's page.

``pairs.jsonl``, a line for each pair:

    {"target": "short", "pair": ID, "prompt", "chosen", "rejected", "disagreement": 0.31, ...}

``disagreement`` is how often two heads order the pair differently, in [0, 1]; `lmtools eval reward`, which
knows one reward alone, has ``margin`` instead. An adaptation adds ``role``, ``labelled`` or ``tested``; of
the labelled ones ``label``, which one it was, from 1; and ``before`` and ``after``: the ensemble's
probability of the user's order without labels and with all of them. That is sigmoid(sum_k w_k m_k), m_k the
head's margin on the pair, so above 1/2 the order is right; ``before`` is left out where the rule prefers
nothing without labels. ``disagreement_after`` is how often two heads disagree that are drawn by their weight.

``steps.jsonl``, a line for each number of labels from 0:

    {"labels": 2, "weights": [one of each head], "accuracy": 0.71}

``accuracy`` is that on the tested pairs; left out where there are none, or nothing is preferred.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.special import expit

from lmtools.core.files import write_jsonl
from lmtools.data.records import Preference, Turn
from lmtools.hyre.reweighting import Floats
from lmtools.hyre.session import Candidate, Choice
from lmtools.metrics.preference import accuracy, disagreements, weighted_disagreements

PAIRS, STEPS = "pairs.jsonl", "steps.jsonl"


@dataclass(frozen=True)
class Shown:
    """A pair as a reader sees it; ``pair`` is its id, or what its content makes of itself."""

    pair: str
    prompt: str
    chosen: str
    rejected: str


def shown(pair: Preference) -> Shown:
    """A pair of a file."""
    turns, chosen, rejected = pair.split()
    return Shown(pair.key, conversation(turns), chosen, rejected)


def answered(candidate: Candidate, choice: Choice) -> Shown:
    """A pair that a person was asked about."""
    better, other = candidate.first, candidate.second
    if choice == "second":
        better, other = other, better
    return Shown(candidate.key, conversation(candidate.turns), better, other)


def conversation(turns: Sequence[Turn]) -> str:
    """Turns as one text; of several each is named.

    >>> conversation([Turn(role="user", content="Hello.")])
    'Hello.'
    """
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def target_records(target: str, pairs: Iterable[Shown], different: Floats) -> Iterator[dict[str, Any]]:
    """The lines of an evaluation's target; ``different`` (n,) is the heads' disagreement on each pair."""
    for pair, value in zip(pairs, different.tolist(), strict=True):
        yield {"target": target, **asdict(pair), "disagreement": value}


def keep_margins(
    path: Path, pairs: Mapping[str, Sequence[Preference]], margins: Mapping[str, Floats]
) -> None:
    """Write the pairs of each distribution with the margins (n,) that one reward model gave them.

    Raises:
        MachineError: the file cannot be written.
    """
    write_jsonl(
        path,
        (
            {"target": target, **asdict(shown(pair)), "margin": value}
            for target, own in pairs.items()
            for pair, value in zip(own, margins[target].tolist(), strict=True)
        ),
    )


@dataclass(frozen=True)
class Adaptation:
    """One user's pairs and what labels made of the ensemble.

    ``known`` and ``others`` (n, K) are the heads' margins on the labelled pairs and on those tested;
    ``history``, the weights (K,) with 0, 1, ... labels, at least the first and the last of them.
    """

    target: str
    labelled: Sequence[Shown]
    tested: Sequence[Shown]
    known: Floats
    others: Floats
    history: Sequence[Floats]

    def pairs(self) -> Iterator[dict[str, Any]]:
        """The lines of ``pairs.jsonl``, the labelled pairs first."""
        yield from self._pairs("labelled", self.labelled, self.known)
        yield from self._pairs("tested", self.tested, self.others)

    def steps(self) -> Iterator[dict[str, Any]]:
        """The lines of ``steps.jsonl``."""
        for labels, weights in enumerate(self.history):
            step: dict[str, Any] = {"labels": labels, "weights": [float(f"{w:.6g}") for w in weights]}
            if len(self.others) and weights.any():
                step["accuracy"] = accuracy(self.others @ weights)
            yield step

    def _pairs(self, role: str, pairs: Sequence[Shown], margins: Floats) -> Iterator[dict[str, Any]]:
        if not pairs:
            return
        first, last = self.history[0], self.history[-1]
        before, after = expit(margins @ first), expit(margins @ last)
        different, left = disagreements(margins), weighted_disagreements(margins, last)
        for place, pair in enumerate(pairs):
            record: dict[str, Any] = {"target": self.target, **asdict(pair), "role": role}
            if role == "labelled":
                record["label"] = place + 1
            if first.any():
                record["before"] = float(before[place])
            record |= {"after": float(after[place]), "disagreement": float(different[place])}
            yield record | {"disagreement_after": float(left[place])}
