"""Asking a user about one pair at a time: the state of it, without a terminal. And what is kept of all pairs.

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
from lmtools.hyre.adapt import Margins, head_prior, informativeness, posterior
from lmtools.hyre.pairs import content
from lmtools.hyre.settings import Acquisition, AdaptSettings
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
    """The user's choice for the candidate of that ``index``; None skips it."""

    index: int
    choice: Choice | None


def candidates(pairs: Sequence[Preference], seed: int) -> list[Candidate]:
    """Pairs to ask about, each once, in order; their labels, if they have any, are not looked at.

    Which of the two answers is shown first is drawn by seed and key, so that the order tells nothing.

    Raises:
        DataError: different pairs have the same id.
    """
    by_key: dict[str, Candidate] = {}
    contents: set[str] = set()
    for pair in pairs:
        turns, *answers = pair.split()
        if (same := content(pair)) in contents:
            continue
        if pair.key in by_key:
            raise DataError(
                f"two different pairs have the id {pair.key!r}",
                fix="give each pair an id of its own, or leave `id` out",
            )
        turned = derive(seed, "shown first", pair.key) % 2
        first, second = reversed(answers) if turned else answers
        by_key[pair.key] = Candidate(pair.key, turns, first, second)
        contents.add(same)
    return list(by_key.values())


class Session:
    """Which pair is asked about next, and what the answers so far make of the ensemble.

    Args:
        candidates: the pairs to choose from, with keys of their own.
        margins: (n, K), the reward of each first answer less that of the second, for every head, at the size
            that the settings ask for.
        train_loss: (K,), each head's mean loss in training.
        kind: what makes a pair the most informative one.
        seed: of ``random``.
        journal: of this session alone; the answers in it are taken in again.
        sources: (K,), where each head comes from, for who shows the weights.

    Raises:
        ValueError: the margins are not finite or of another shape, or a key is there twice.
        RunError: the journal tells of other pairs.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        margins: ArrayLike,
        train_loss: Floats,
        settings: AdaptSettings,
        kind: Acquisition,
        seed: int,
        journal: Journal,
        sources: Sequence[str] = (),
    ) -> None:
        self.candidates = tuple(candidates)
        self.sources = tuple(sources)
        self._margins = np.asarray(margins, dtype=np.float64)
        shape = (len(self.candidates), len(train_loss))
        if self._margins.shape != shape or not np.isfinite(self._margins).all():
            raise ValueError("each candidate needs a finite margin for each head")
        self._indices = {candidate.key: index for index, candidate in enumerate(self.candidates)}
        if len(self._indices) != len(self.candidates):
            raise ValueError("two candidates have the same key")
        self._settings, self._kind, self._seed = settings, kind, seed
        self._prior = head_prior(train_loss, settings)
        self._journal = journal
        self._decisions: list[Decision] = []
        self._current: int | None = None
        for key in journal:
            self._redo(key, journal.get(key) or {})

    def next(self) -> Candidate | None:
        """The pair to ask about: the one just taken back, else the most informative one under the weights so
        far.

        The same until it is answered or skipped; None when no pair is left.
        """
        if self._current is None:
            decided = {decision.index for decision in self._decisions}
            pool = [index for index in range(len(self.candidates)) if index not in decided]
            if not pool:
                return None
            seed = derive(self._seed, "ask", len(self._decisions))
            labelled = self.margins_labelled()
            weights, _ = posterior(Margins(labelled), self._prior, self._settings)
            gains = informativeness(self._kind, self._margins[pool], labelled, weights, self._settings, seed)
            self._current = pool[int(np.argmax(gains))]
        return self.candidates[self._current]

    def answer(self, choice: Choice) -> None:
        """The first or the second answer of ``next()`` is the better one.

        Raises:
            ValueError: no pair is left.
            MachineError: it cannot be recorded; nothing has changed then.
        """
        pair = self._pending()
        self._record({"event": "answer", "pair": pair.key, "better": _digest(pair.answer(choice))})
        self._decide(Decision(self._indices[pair.key], choice))

    def skip(self) -> None:
        """The user cannot tell: do not ask about ``next()`` again. Raises as ``answer`` does."""
        pair = self._pending()
        self._record({"event": "skip", "pair": pair.key})
        self._decide(Decision(self._indices[pair.key], None))

    def undo(self) -> Candidate | None:
        """Take the last answer or skip back and ask about its pair again; None where there is nothing.

        Raises:
            MachineError: it cannot be recorded; nothing has changed then.
        """
        if not self._decisions:
            return None
        self._record({"event": "undo"})
        self._take_back()
        return self.next()

    def weights(self, count: int | None = None) -> tuple[Floats, Floats]:
        """The weights (K,) by the first ``count`` answers, or by all, and the heads' losses (K,) on them."""
        return posterior(Margins(self.margins_labelled()[:count]), self._prior, self._settings)

    @property
    def history(self) -> list[Floats]:
        """The weights (K,) after every answer."""
        margins = self.margins_labelled()
        steps = []
        for count in range(1, len(margins) + 1):
            steps.append(posterior(Margins(margins[:count]), self._prior, self._settings)[0])
        return steps

    @property
    def labelled(self) -> list[tuple[Candidate, Choice]]:
        """The answered pairs, in the order of the answers."""
        return [
            (self.candidates[decision.index], decision.choice)
            for decision in self._decisions
            if decision.choice
        ]

    @property
    def skipped(self) -> list[Candidate]:
        """The pairs that the user could not tell."""
        return [self.candidates[decision.index] for decision in self._decisions if decision.choice is None]

    def margins_labelled(self) -> Floats:
        """The heads' margins on the answered pairs, the chosen answer less the other: (n, K)."""
        answers = [decision for decision in self._decisions if decision.choice]
        signs = np.array([1.0 if decision.choice == "first" else -1.0 for decision in answers])
        rows = [decision.index for decision in answers]
        return np.asarray(self._margins[rows] * signs[:, None], dtype=np.float64)

    def _pending(self) -> Candidate:
        """The pair that is asked about now."""
        pair = self.next()
        if pair is None:
            raise ValueError("no pair is left to ask about")
        return pair

    def _record(self, event: dict[str, Any]) -> None:
        self._journal.append(str(len(self._journal)), event)

    def _decide(self, decision: Decision) -> None:
        self._decisions.append(decision)
        self._current = None

    def _take_back(self) -> None:
        self._current = self._decisions.pop().index

    def _redo(self, key: str, event: dict[str, Any]) -> None:
        """Take in a record of an earlier sitting."""
        kind, index = event.get("event"), self._indices.get(str(event.get("pair")))
        if kind == "undo" and self._decisions:
            self._take_back()
            return
        if index is not None and all(decision.index != index for decision in self._decisions):
            if kind == "skip":
                self._decide(Decision(index, None))
                return
            # The answer is told by its text: whichever of the two it is, the order may have been another.
            for choice in CHOICES:
                if kind == "answer" and event.get("better") == _digest(self.candidates[index].answer(choice)):
                    self._decide(Decision(index, choice))
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
class ShownPair:
    """A pair as a reader sees it; ``pair`` is its id, or what its content makes of itself."""

    pair: str
    prompt: str
    chosen: str
    rejected: str


def shown_pair(pair: Preference) -> ShownPair:
    """A pair of a file."""
    turns, chosen, rejected = pair.split()
    return ShownPair(pair.key, conversation(turns), chosen, rejected)


def answered_pair(candidate: Candidate, choice: Choice) -> ShownPair:
    """A pair that a person was asked about."""
    better, other = candidate.first, candidate.second
    if choice == "second":
        better, other = other, better
    return ShownPair(candidate.key, conversation(candidate.turns), better, other)


def conversation(turns: Sequence[Turn]) -> str:
    """Turns as one text; of several each is named.

    >>> conversation([Turn(role="user", content="Hello.")])
    'Hello.'
    """
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def target_records(target: str, pairs: Iterable[ShownPair], different: Floats) -> Iterator[dict[str, Any]]:
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
            {"target": target, **asdict(shown_pair(pair)), "margin": value}
            for target, members in pairs.items()
            for pair, value in zip(members, margins[target].tolist(), strict=True)
        ),
    )


@dataclass(frozen=True)
class Adaptation:
    """One user's pairs, and what labels made of the ensemble.

    ``labelled_margins`` (n, K) and ``tested_margins`` (m, K) are the heads' margins on the labelled pairs and
    on those tested; ``history``, the weights (K,) with 0, 1, ... n labels.
    """

    target: str
    labelled: Sequence[ShownPair]
    tested: Sequence[ShownPair]
    labelled_margins: Floats
    tested_margins: Floats
    history: Sequence[Floats]

    def pairs(self) -> Iterator[dict[str, Any]]:
        """The lines of ``pairs.jsonl``, the labelled pairs first."""
        yield from self._pairs("labelled", self.labelled, self.labelled_margins)
        yield from self._pairs("tested", self.tested, self.tested_margins)

    def steps(self) -> Iterator[dict[str, Any]]:
        """The lines of ``steps.jsonl``."""
        for labels, weights in enumerate(self.history):
            step: dict[str, Any] = {"labels": labels, "weights": [float(f"{w:.6g}") for w in weights]}
            if len(self.tested_margins) and weights.any():
                step["accuracy"] = accuracy(self.tested_margins @ weights)
            yield step

    def _pairs(self, role: str, pairs: Sequence[ShownPair], margins: Floats) -> Iterator[dict[str, Any]]:
        if not pairs:
            return
        first, last = self.history[0], self.history[-1]
        before, after = expit(margins @ first), expit(margins @ last)
        different, left = disagreements(margins), weighted_disagreements(margins, last)
        for index, pair in enumerate(pairs):
            record: dict[str, Any] = {"target": self.target, **asdict(pair), "role": role}
            if role == "labelled":
                record["label"] = index + 1
            if first.any():
                record["before"] = float(before[index])
            record |= {"after": float(after[index]), "disagreement": float(different[index])}
            yield record | {"disagreement_after": float(left[index])}
