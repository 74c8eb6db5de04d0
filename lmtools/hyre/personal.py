"""One user: pairs of theirs, a few of them labelled, the weights these give, and what they are worth."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError
from lmtools.core.files import file_name, write_jsonl
from lmtools.core.results import Difference, Row, bootstrap_mean, paired_difference
from lmtools.core.seeds import derive
from lmtools.data.records import Preference
from lmtools.data.sources import Tally, load_targets
from lmtools.hyre.adapt import Weights, adapted, before, check_examples
from lmtools.hyre.ensemble import Ensemble, ensemble_digest
from lmtools.hyre.pairs import PairFeatures, content, read_features, read_targets, say_left_out
from lmtools.hyre.recipe import AdaptSettings, HyreRecipe
from lmtools.hyre.reward import open_ensemble
from lmtools.hyre.session import PAIRS, Adaptation, shown
from lmtools.hyre.train import MAIN
from lmtools.metrics.preference import correct


@dataclass(frozen=True)
class User:
    """A user's pairs: the ``known`` ones are labelled, the ``others`` only tested on."""

    name: str
    known: tuple[Preference, ...]
    others: tuple[Preference, ...]


def read_user(source: str, target: str | None, *, one_of_many: bool = False) -> tuple[str, list[Preference]]:
    """The pairs of one user.

    Args:
        source: of pairs.
        target: the distribution to take; None: all pairs of the source, as one user's.
        one_of_many: without ``target`` take the first distribution in place of all.

    Raises:
        DataError: there is no such distribution, or no pair.
    """
    tally = Tally()
    found = load_targets(source, tally=tally)
    say_left_out(source, tally)
    if not found:
        raise DataError(f"{source}: no pair with two different answers", fix="give at least one")
    if target is not None and target not in found:
        raise DataError(
            f"{source}: no pairs of {target!r}", fix=f"--target and one of {', '.join(sorted(found))}"
        )
    if target is None and not one_of_many:
        return Path(source).stem, [pair for pairs in found.values() for pair in pairs]
    name = target or min(found)
    return name, found[name]


def split(name: str, pairs: Sequence[Preference], examples: int, seed: int) -> User:
    """``examples`` of the pairs as labelled ones, drawn by seed.

    A pair that is there twice, as it is or turned around, counts once: none is tested on and learned from.

    Raises:
        DataError: there are fewer.
    """
    different = list({content(pair): pair for pair in pairs}.values())
    check_examples(len(different), examples, name)
    order = np.random.default_rng(derive(seed, "user", name)).permutation(len(different))
    chosen = [different[place] for place in order]
    return User(name, tuple(chosen[:examples]), tuple(chosen[examples:]))


def margins(ensemble: Ensemble, own: PairFeatures, settings: AdaptSettings) -> Floats:
    """Chosen less rejected of every head, at the size that the settings ask for: (n, K)."""
    return ensemble.rewards(own.chosen, settings) - ensemble.rewards(own.rejected, settings)


def weigh(
    ensemble: Ensemble, known: Floats, keys: Sequence[str], settings: AdaptSettings, digest: str
) -> Weights:
    """The weights that labelled pairs of these margins (n, K) give."""
    weights, losses = adapted(known, ensemble.fit, settings)
    return Weights(weights, losses, settings, tuple(keys), ensemble.sources, digest)


def worth(ensemble: Ensemble, weights: Weights, others: Floats, resamples: int, seed: int) -> list[Row]:
    """Accuracy on pairs that were not learned from, of the weights, and without them; none without pairs."""
    if not len(others):
        return []
    named = {f"hyre @{len(weights.examples)}": weights.weights}
    if (prior := before(ensemble.fit, weights.settings)).any():
        named["before @0"] = prior
    return [
        Row(name, {"accuracy": bootstrap_mean(correct(others @ w), None, resamples, seed)})
        for name, w in named.items()
    ]


def gain(
    rows: Sequence[Row], ensemble: Ensemble, weights: Weights, others: Floats, seed: int
) -> list[Difference]:
    """The two rows of ``worth`` compared, pair by pair; nothing where one is missing."""
    if len(rows) < 2:
        return []
    after, before_them = rows[0].name, rows[1].name
    both = correct(others @ weights.weights), correct(others @ before(ensemble.fit, weights.settings))
    return [Difference.of(after, before_them, "accuracy", paired_difference(*both, seed=seed))]


def keep_weights(run: Path, recipe: HyreRecipe, examples: int, folder: Path) -> list[Path]:
    """Adapt the ensemble of a trained run to every target, by ``examples`` of its pairs: ``NAME.json``.

    Targets with fewer pairs are left out. ``pairs.jsonl`` tells what became of all their pairs.

    Raises:
        ModelError: the backbone has changed since.
        MachineError: the folder cannot be written to.
    """
    ensemble, reader = open_ensemble(run, recipe)
    digest = ensemble_digest(run / MAIN)
    written: list[Path] = []
    told: list[Adaptation] = []
    with closing(reader):
        for name, pairs in read_targets(recipe.data, recipe.seed).items():
            if len({content(pair) for pair in pairs}) < examples:
                continue
            user = split(name, pairs, examples, recipe.seed)
            own = read_features(reader, {"known": user.known, "others": user.others}, name)
            known, rest = (margins(ensemble, own[part], recipe.adapt) for part in ("known", "others"))
            weights = weigh(ensemble, known, own["known"].keys, recipe.adapt, digest)
            written.append(folder / f"{file_name(name)}.json")
            weights.write(written[-1])
            both = list(map(shown, user.known)), list(map(shown, user.others))
            steps = before(ensemble.fit, recipe.adapt), weights.weights
            told.append(Adaptation(name, *both, known, rest, steps))
    write_jsonl(folder / PAIRS, chain.from_iterable(one.pairs() for one in told))
    return written
