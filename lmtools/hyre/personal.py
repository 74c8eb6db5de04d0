"""One user: their pairs, the weights that a few labelled ones give, and how good these are on the others.

    read_user, split_user, user_of   the pairs of a user, some of them as labelled examples
    most_informative         which of them to label next
    labels_of_file           margins, and the weights after each label, from the labels in the file
    labels_of_session        the same from what a person answered (``session.Session``)
    fit_weights              the weights that all labels give
    held_out_accuracy, difference_from_prior     what they are worth on pairs that were not learned from

Margins (n, K) are the heads' rewards of the chosen answer less those of the rejected one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, LmtoolsError
from lmtools.core.intervals import RATE, mean_interval, paired_difference
from lmtools.core.journal import Journal
from lmtools.core.progress import say
from lmtools.core.results import Difference, Row
from lmtools.core.seeds import derive
from lmtools.data.records import Preference
from lmtools.data.sources import Tally, load_targets
from lmtools.hyre.adapt import (
    Margins,
    Weights,
    check_examples,
    head_prior,
    informativeness,
    posterior,
    prior_weights,
)
from lmtools.hyre.ensemble import Ensemble
from lmtools.hyre.pairs import PairFeatures, content, contract_record, messages, read_features, say_left_out
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.session import Adaptation, Session, answered_pair, candidates, shown_pair
from lmtools.hyre.settings import Acquisition, AdaptSettings
from lmtools.metrics.preference import correct
from lmtools.models.features import AnsweredPrompt, FeatureReader


@dataclass(frozen=True)
class User:
    """A user's pairs: the ``examples`` are labelled, the ``tested`` ones only tested on."""

    name: str
    examples: tuple[Preference, ...]
    tested: tuple[Preference, ...]


def acquisition(name: str) -> Acquisition:
    """The rule of that name for what makes a pair informative.

    Raises:
        LmtoolsError: there is none.
    """
    kinds: dict[str, Acquisition] = {str(kind): kind for kind in get_args(Acquisition)}
    if name not in kinds:
        raise LmtoolsError(f"--by {name}: no such way to choose", fix=f"one of {', '.join(kinds)}")
    return kinds[name]


def read_user(source: str, target: str | None, *, one_of_many: bool = False) -> tuple[str, list[Preference]]:
    """The name and the pairs of one user.

    Args:
        source: of pairs.
        target: the distribution to take; None: all pairs of the source, as one user's.
        one_of_many: without ``target`` take the first distribution in place of all.

    Raises:
        DataError: there is no such distribution, or no pair.
    """
    tally = Tally()
    targets = load_targets(source, tally=tally)
    say_left_out(source, tally)
    if not targets:
        raise DataError(f"{source}: no pair with two different answers", fix="give at least one")
    if target is not None and target not in targets:
        raise DataError(
            f"{source}: no pairs of {target!r}", fix=f"--target and one of {', '.join(sorted(targets))}"
        )
    if target is None and not one_of_many:
        return Path(source).stem, [pair for pairs in targets.values() for pair in pairs]
    name = target or min(targets)
    return name, targets[name]


def split_user(name: str, pairs: Sequence[Preference], examples: int, seed: int) -> User:
    """``examples`` of the pairs as labelled ones, drawn by seed.

    A pair that is there twice, as it is or turned around, counts once: none is tested on and learned from.

    Raises:
        DataError: there are fewer.
    """
    different = list({content(pair): pair for pair in pairs}.values())
    check_examples(len(different), examples, name)
    order = np.random.default_rng(derive(seed, "user", name)).permutation(len(different))
    shuffled = [different[index] for index in order]
    return User(name, tuple(shuffled[:examples]), tuple(shuffled[examples:]))


def user_of(recipe: HyreRecipe, pairs: str | None, target: str | None, examples: int) -> User:
    """The user that ``pairs`` and ``target`` name, or the first target's, with so many labelled examples.

    Raises:
        DataError: there is no such user, or they have fewer pairs.
    """
    user, members = read_user(pairs or recipe.data.targets, target, one_of_many=pairs is None)
    if pairs is None and target is None:
        say(f"adapting to {user!r}, the first user in {recipe.data.targets} (--target names another)")
    return split_user(user, members, examples, recipe.seed)


def margins(ensemble: Ensemble, features: PairFeatures, settings: AdaptSettings) -> Floats:
    """Chosen less rejected of every head, at the size that the settings ask for: (n, K)."""
    return ensemble.rewards(features.chosen, settings) - ensemble.rewards(features.rejected, settings)


# Labels, from the user's file or from a person


def labels_of_file(
    ensemble: Ensemble, reader: FeatureReader, user: User, settings: AdaptSettings, label: str = "pairs"
) -> Adaptation:
    """The labels in the user's file, and the weights after each of them; ``label`` names the reading.

    Raises:
        ModelError: the model's numbers are not finite.
        MachineError: there is not enough memory, or the cache cannot be written.
    """
    features = read_features(reader, {"examples": user.examples, "tested": user.tested}, label)
    examples, tested = (margins(ensemble, features[part], settings) for part in ("examples", "tested"))
    prior = head_prior(ensemble.train_loss, settings)
    history = []
    for count in range(len(examples) + 1):
        history.append(posterior(Margins(examples[:count]), prior, settings)[0])
    pairs = [shown_pair(pair) for pair in user.examples], [shown_pair(pair) for pair in user.tested]
    return Adaptation(user.name, *pairs, examples, tested, history)


def open_session(
    ensemble: Ensemble, reader: FeatureReader, user: User, recipe: HyreRecipe, kind: Acquisition,
    journal: Journal,
) -> Session:  # fmt: skip
    """A session that asks about the user's pairs; the labels in the file are not looked at.

    Raises:
        DataError, RunError: as ``session.candidates`` and ``session.Session``.
        ModelError, MachineError: as ``labels_of_file``.
    """
    pairs = candidates(user.tested, recipe.seed)
    answers = [
        AnsweredPrompt(messages(pair.turns), text) for pair in pairs for text in (pair.first, pair.second)
    ]
    rewards = ensemble.rewards(reader.read(answers, "pairs"), recipe.adapt)
    return Session(
        pairs, rewards[::2] - rewards[1::2], ensemble.train_loss, recipe.adapt, kind, recipe.seed, journal,
        sources=ensemble.sources,
    )  # fmt: skip


def labels_of_session(name: str, session: Session) -> Adaptation:
    """What a person answered. The other pairs have no labels, so there is nothing to test on."""
    labelled = [answered_pair(candidate, choice) for candidate, choice in session.labelled]
    margins = session.margins_labelled()
    history = [session.weights(0)[0], *session.history]
    return Adaptation(name, labelled, (), margins, margins[:0], history)


def most_informative(
    ensemble: Ensemble, features: PairFeatures, weights: Weights, kind: Acquisition, count: int, seed: int
) -> list[dict[str, Any]]:
    """The pairs whose labels would tell the ensemble most, the most informative first, with their scores.

    Labels are not looked at. Pairs that the weights were learned from are left out.
    """
    keys, examples, settings = features.keys, weights.examples, weights.settings
    if labelled := set(examples) & set(keys):
        say(f"{len(labelled)} of the pairs are labelled already, and are left out")
    # The pairs come without labels: their margins are of the order in the file, which no score depends on.
    pool = margins(ensemble, features, settings)
    if settings.rule == "reweight":
        gains = informativeness(kind, pool, pool[:0], weights.weights, settings, seed)
    else:
        # A normal posterior is that of the labelled pairs among these: its spread is not in the file.
        seen = pool[[index for index, key in enumerate(keys) if key in examples]]
        mode, _ = posterior(Margins(seen), head_prior(ensemble.train_loss, settings), settings)
        gains = informativeness(kind, pool, seen, mode, settings, seed)
    order = [index for index in np.argsort(-gains, kind="stable") if keys[index] not in examples][:count]
    return [
        {"id": keys[index], "score": float(gains[index]), **contract_record(features.pairs[index])}
        for index in order
    ]


# The weights, and what they are worth


def fit_weights(
    ensemble: Ensemble, margins: Floats, keys: Sequence[str], settings: AdaptSettings, digest: str
) -> Weights:
    """The weights that labelled pairs give.

    Args:
        margins: (n, K), of the labelled pairs, and ``keys`` (n,) their ids.
        digest: of the ensemble.
    """
    prior = head_prior(ensemble.train_loss, settings)
    weights, losses = posterior(Margins(margins), prior, settings)
    return Weights(weights, losses, settings, tuple(keys), ensemble.sources, digest)


def held_out_accuracy(
    ensemble: Ensemble, weights: Weights, tested: Floats, resamples: int, seed: int
) -> list[Row]:
    """Accuracy on pairs that were not learned from, of the weights and of the prior; none without pairs.

    Args:
        tested: (m, K), the heads' margins on those pairs.
    """
    if not len(tested):
        return []
    named = {f"hyre @{len(weights.examples)}": weights.weights}
    if (prior := prior_weights(ensemble.train_loss, weights.settings)).any():
        named["before @0"] = prior
    return [
        Row(name, {"accuracy": mean_interval(correct(tested @ vector), None, resamples, seed, bounds=RATE)})
        for name, vector in named.items()
    ]


def difference_from_prior(
    rows: Sequence[Row], ensemble: Ensemble, weights: Weights, tested: Floats, seed: int
) -> list[Difference]:
    """The two rows of ``held_out_accuracy`` compared, pair by pair; nothing where there is only one."""
    if len(rows) < 2:
        return []
    prior = prior_weights(ensemble.train_loss, weights.settings)
    after, before = correct(tested @ weights.weights), correct(tested @ prior)
    interval = paired_difference(after, before, seed=seed, bounds=RATE)
    return [Difference.of(rows[0].name, rows[1].name, "accuracy", interval)]
