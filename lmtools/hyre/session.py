"""Asking a user about one pair at a time: the state of it, without a terminal.

Every answer, skip and undo is one record of a journal, so that a session that was quit, or killed at any
instant, goes on exactly where it was:

{"key": "0", "value": {"event": "answer", "pair": KEY, "better": DIGEST}}
{"key": "1", "value": {"event": "skip", "pair": KEY}}
{"key": "2", "value": {"event": "undo"}}

The better answer is recorded by its content, not by its place, which follows from the seed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, RunError
from lmtools.core.files import sha256_text, write_jsonl
from lmtools.core.journal import Journal
from lmtools.core.seeds import derive
from lmtools.data.records import Preference, Turn
from lmtools.hyre.adapt import adapted, telling
from lmtools.hyre.pairs import content
from lmtools.hyre.recipe import AdaptSettings
from lmtools.hyre.reweighting import Acquisition
from lmtools.metrics.preference import accuracy, disagreements, weighted_disagreements

Choice = Literal["first", "second"]
CHOICES: tuple[Choice, Choice] = ("first", "second")


@dataclass(frozen=True)
class Candidate:
    """A pair that nobody has labelled: two answers to the conversation ``turns``."""

    key: str
    turns: tuple[Turn, ...]
    first: str
    second: str

    def answer(self, choice: Choice) -> str:
        """The text of one of the two."""
        return self.first if choice == "first" else self.second


@dataclass(frozen=True)
class Decision:
    """What was done with the candidate at ``place``; a ``choice`` of None skips it."""

    place: int
    choice: Choice | None


def candidates(pairs: Sequence[Preference], seed: int) -> list[Candidate]:
    """Pairs to ask about, each once, in order; their labels, if they have any, are not looked at.

    Which of the two answers is shown first is drawn by seed and key, so that its place tells nothing.

    Raises:
        DataError: different pairs have the same id.
    """
    found: dict[str, Candidate] = {}
    known: set[str] = set()
    for pair in pairs:
        turns, *answers = pair.split()
        if (same := content(pair)) in known:
            continue
        if pair.key in found:
            raise DataError(
                f"two different pairs have the id {pair.key!r}",
                fix="give each pair an id of its own, or leave `id` out",
            )
        turned = derive(seed, "shown first", pair.key) % 2
        first, second = reversed(answers) if turned else answers
        found[pair.key] = Candidate(pair.key, turns, first, second)
        known.add(same)
    return list(found.values())


class Session:
    """Which pair is asked about next, and what the answers so far make of the ensemble.

    Args:
        candidates: the pairs to choose from, with keys of their own.
        margins: (n, K), the reward of each first answer less that of the second, for every head, at the size
            that the settings ask for.
        fit: (K,), each head's mean loss in training.
        kind: what makes a pair the most telling one.
        seed: of ``random``.
        journal: this session's own; what it holds already is done again.

    Raises:
        ValueError: the margins are not finite or of another shape, or a key is there twice.
        RunError: the journal tells of other pairs.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        margins: ArrayLike,
        fit: Floats,
        settings: AdaptSettings,
        kind: Acquisition,
        seed: int,
        journal: Journal,
    ) -> None:
        self.candidates = tuple(candidates)
        self._margins = np.asarray(margins, dtype=np.float64)
        right = self._margins.shape == (len(self.candidates), len(fit))
        if not right or not np.isfinite(self._margins).all():
            raise ValueError("each candidate needs a finite margin for each head")
        self._places = {candidate.key: place for place, candidate in enumerate(self.candidates)}
        if len(self._places) != len(self.candidates):
            raise ValueError("two candidates have the same key")
        self._fit, self._settings, self._kind, self._seed = fit, settings, kind, seed
        self._journal = journal
        self._done: list[Decision] = []
        self._current: int | None = None
        for key in journal:
            self._redo(key, journal.get(key) or {})

    def next(self) -> Candidate | None:
        """The pair to ask about: the one just taken back, else the most telling one under the weights so far.

        The same until it is answered or skipped; None when no pair is left.
        """
        if self._current is None:
            done = {decision.place for decision in self._done}
            left = [place for place in range(len(self.candidates)) if place not in done]
            if not left:
                return None
            seed = derive(self._seed, "ask", len(self._done))
            known, pool = self.margins_labelled(), self._margins[left]
            found = telling(self._kind, pool, known, self._fit, self._settings, seed)
            self._current = left[int(np.argmax(found))]
        return self.candidates[self._current]

    def answer(self, choice: Choice) -> None:
        """The first or the second answer of ``next()`` is the better one.

        Raises:
            ValueError: no pair is left.
            MachineError: it cannot be recorded; nothing has changed then.
        """
        asked = self._asked()
        self._record({"event": "answer", "pair": asked.key, "better": _digest(asked.answer(choice))})
        self._decide(Decision(self._places[asked.key], choice))

    def skip(self) -> None:
        """The user cannot tell: do not ask about ``next()`` again. Raises as ``answer`` does."""
        asked = self._asked()
        self._record({"event": "skip", "pair": asked.key})
        self._decide(Decision(self._places[asked.key], None))

    def undo(self) -> Candidate | None:
        """Take the last answer or skip back and ask about its pair again; None where there is nothing.

        Raises:
            MachineError: it cannot be recorded; nothing has changed then.
        """
        if not self._done:
            return None
        self._record({"event": "undo"})
        self._take_back()
        return self.next()

    def weights(self) -> tuple[Floats, Floats]:
        """The weights (K,) that the answers so far give, and the heads' losses (K,) over them."""
        return adapted(self.margins_labelled(), self._fit, self._settings)

    @property
    def labelled(self) -> list[tuple[Candidate, Choice]]:
        """The answered pairs, in the order of the answers."""
        return [(self.candidates[done.place], done.choice) for done in self._done if done.choice]

    @property
    def skipped(self) -> list[Candidate]:
        """The pairs that the user could not tell."""
        return [self.candidates[done.place] for done in self._done if done.choice is None]

    @property
    def history(self) -> list[Floats]:
        """The weights (K,) after every answer."""
        margins = self.margins_labelled()
        return [adapted(margins[:n], self._fit, self._settings)[0] for n in range(1, len(margins) + 1)]

    def margins_labelled(self) -> Floats:
        """The heads' margins on the answered pairs, the chosen answer less the other: (n, K)."""
        answers = [done for done in self._done if done.choice]
        signs = np.array([1.0 if done.choice == "first" else -1.0 for done in answers])
        return np.asarray(self._margins[[done.place for done in answers]] * signs[:, None], dtype=np.float64)

    def _asked(self) -> Candidate:
        asked = self.next()
        if asked is None:
            raise ValueError("no pair is left to ask about")
        return asked

    def _record(self, event: dict[str, Any]) -> None:
        self._journal.append(str(len(self._journal)), event)

    def _decide(self, decision: Decision) -> None:
        self._done.append(decision)
        self._current = None

    def _take_back(self) -> None:
        self._current = self._done.pop().place

    def _redo(self, key: str, event: dict[str, Any]) -> None:
        """Take in a record of an earlier sitting."""
        kind, place = event.get("event"), self._places.get(str(event.get("pair")))
        if kind == "undo" and self._done:
            self._take_back()
            return
        if place is not None and all(decision.place != place for decision in self._done):
            if kind == "skip":
                self._decide(Decision(place, None))
                return
            for choice in CHOICES:
                if kind == "answer" and event.get("better") == _digest(self.candidates[place].answer(choice)):
                    self._decide(Decision(place, choice))
                    return
        raise RunError(
            f"{self._journal.path}: record {key!r} is not about one of the pairs to be asked about",
            fix="give the same pairs as before, or begin anew in another directory (--out DIR)",
        )


def _digest(text: str) -> str:
    return sha256_text(text)[:16]


# What became of every pair and with every label, as files of a run: for people, and for the run's page.
#
# ``pairs.jsonl``, a line for each pair:
#
#     {"target": "short", "pair": ID, "prompt", "chosen", "rejected", "disagreement": 0.31, ...}
#
# ``disagreement`` is how often two heads order the pair differently, in [0, 1]; `lmtools eval reward`,
# which knows one reward alone, has ``margin`` instead. An adaptation adds ``role``, ``labelled`` or
# ``tested``; of the labelled ones ``label``, which one it was, from 1; and ``before`` and ``after``: the
# ensemble's probability of the user's order without labels and with all of them. That is sigmoid(sum_k w_k
# m_k), m_k the head's margin on the pair, so above 1/2 the order is right; ``before`` is left out where the
# rule prefers nothing without labels. ``disagreement_after`` is how often two heads disagree that are drawn
# by their weight.
#
# ``steps.jsonl``, a line for each number of labels from 0:
#
#     {"labels": 2, "weights": [one of each head], "accuracy": 0.71}
#
# ``accuracy`` is that on the tested pairs; left out where there are none, or nothing is preferred.

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
