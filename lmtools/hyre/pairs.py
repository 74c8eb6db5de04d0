"""Preference pairs of a recipe: those to learn from and those of each target, read whole, drawn by seed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError
from lmtools.core.files import sha256_text
from lmtools.core.progress import Work, say, tokens_in
from lmtools.core.seeds import derive
from lmtools.data.records import Preference, Turn
from lmtools.data.sources import Tally, load_preferences, load_targets
from lmtools.hyre.ensemble import Features
from lmtools.hyre.recipe import DataSettings
from lmtools.hyre.train import TrainingData
from lmtools.models.chat import Message
from lmtools.models.features import AnsweredPrompt, FeatureReader

T = TypeVar("T")


@dataclass(frozen=True)
class PairFeatures:
    """Pairs with the features of both answers, (n, D) each, not standardised."""

    pairs: tuple[Preference, ...]
    chosen: Features
    rejected: Features

    @property
    def keys(self) -> list[str]:
        """The id of each pair, or what its content makes of itself."""
        return [pair.key for pair in self.pairs]

    def training(self) -> TrainingData:
        """As what an ensemble learns from; the pairs' distributions are its groups."""
        groups: NDArray[np.str_] = np.array([pair.distribution for pair in self.pairs])
        return TrainingData(self.chosen, self.rejected, groups=groups)


def read_training(data: DataSettings, seed: int) -> list[Preference]:
    """The pairs to learn from.

    Raises:
        DataError: the source is missing or wrong, or holds no pair with two different answers.
        MachineError: the hub cannot be reached.
    """
    tally = Tally()
    pairs = load_preferences(data.train, tally=tally)
    say_left_out(data.train, tally)
    if not pairs:
        raise DataError(f"{data.train}: no pair with two different answers", fix="give at least one")
    return drawn(pairs, data.train_limit, derive(seed, "training pairs"))


def read_targets(data: DataSettings, seed: int) -> dict[str, list[Preference]]:
    """The pairs of each target, by its name in alphabetical order; raises as ``read_training``."""
    tally = Tally()
    targets = load_targets(data.targets, tally=tally)
    say_left_out(data.targets, tally)
    if not targets:
        raise DataError(f"{data.targets}: no pair with two different answers", fix="give at least one")
    return {
        name: drawn(pairs, data.target_limit, derive(seed, "target pairs", name))
        for name, pairs in sorted(targets.items())
    }


def say_left_out(source: str, tally: Tally) -> None:
    """Tell a person how many pairs teach nothing, and why."""
    for reason, count in tally.left_out.items():
        say(f"{source}: {count} of {tally.records} pairs left out: each {reason}")


def drawn(items: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """``limit`` of the items, drawn by seed, in the order they were in; all where there are no more."""
    if limit is None or len(items) <= limit:
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return [items[index] for index in np.sort(chosen)]


def content(pair: Preference) -> str:
    """What a pair is, whichever answer was chosen: the same for a copy and for a pair turned around."""
    turns, *texts = pair.split()
    return sha256_text(json.dumps([[[turn.role, turn.content] for turn in turns], *sorted(texts)]))


def answers(pairs: Sequence[Preference]) -> list[AnsweredPrompt]:
    """The chosen answer of each pair, then the rejected one, as the model reads them."""
    return [
        AnsweredPrompt(messages(turns), answer)
        for turns, *texts in (pair.split() for pair in pairs)
        for answer in texts
    ]


def messages(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """Turns of a file as the turns of a conversation with a model."""
    return tuple(Message(turn.role, turn.content) for turn in turns)


def contract_record(pair: Preference) -> dict[str, Any]:
    """A pair as a record of a data file, its answers in their order there."""
    turns, chosen, rejected = pair.split()
    prompt = turns[0].content if len(turns) == 1 else [turn.model_dump(mode="json") for turn in turns]
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


MARKUP = 30
"""Tokens of a conversation beside its texts, about: roles, and what the template says by itself."""


def reading(reader: FeatureReader, pairs: Sequence[Preference]) -> Work:
    """What the features of pairs take: conversations with both their answers, through some of the layers."""
    texts: list[str] = []
    for turns, chosen, rejected in (pair.split() for pair in pairs):
        texts += [chosen, rejected, *(turn.content for turn in turns)]
    return Work(read=tokens_in(texts) + MARKUP * len(pairs)) * reader.depth


def read_features(
    reader: FeatureReader, groups: dict[str, Sequence[Preference]], label: str
) -> dict[str, PairFeatures]:
    """The features of all pairs of all groups, in one pass of the model.

    Raises:
        ModelError: the model's numbers are not finite.
        MachineError: there is not enough memory, or the cache cannot be written.
    """
    features = reader.read(answers([pair for pairs in groups.values() for pair in pairs]), label)
    by_group, start = {}, 0
    for name, pairs in groups.items():
        # Rows are chosen and rejected in turn.
        end = start + 2 * len(pairs)
        by_group[name] = PairFeatures(tuple(pairs), features[start:end:2], features[start + 1 : end : 2])
        start = end
    return by_group
