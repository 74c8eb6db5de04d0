"""A user's reward model: a trained run, and the weights that a few examples gave its heads.

reward = open_reward(Path("runs/hyre-train"), Path("runs/hyre-adapt"))
reward([AnsweredPrompt((Message("user", "Name a river."),), "The Seine.")])       # (1,)
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, ModelError
from lmtools.core.progress import say
from lmtools.core.results import Interval, Row, bootstrap_mean, percentile_interval, resample_weights
from lmtools.data.records import Preference
from lmtools.generation.open import open_features
from lmtools.hyre.adapt import Weights, before, check_heads, read_weights
from lmtools.hyre.ensemble import Ensemble, ensemble_digest, load_ensemble
from lmtools.hyre.pairs import answers, read_targets
from lmtools.hyre.recipe import DataSettings, HyreRecipe, RewardRecipe
from lmtools.hyre.train import MAIN, SINGLE, check_trained
from lmtools.hyre.tuned import with_adapter
from lmtools.metrics.preference import correct, section_weights
from lmtools.models.features import AnsweredPrompt, FeatureReader
from lmtools.models.recipes import load_model_recipe


@dataclass(frozen=True)
class RewardModel:
    """An ensemble with the reader of its features, under some weights."""

    ensemble: Ensemble
    reader: FeatureReader
    weights: Weights

    def __call__(self, answered: Sequence[AnsweredPrompt]) -> Floats:
        """The rewards of answers: (n,); only those of answers to the same prompt can be compared.

        Raises:
            DataError: an answer is empty.
            ModelError: the model's numbers are not finite.
        """
        return self.weights.rewards(self.ensemble, self.reader.read(answered, "rewards"))


def trained_recipe(directory: Path, settings: Sequence[str] = ()) -> HyreRecipe:
    """The recipe of a training run, with some settings changed; its model has the adapter that the run made.

    Raises:
        RunError: the directory holds no trained ensemble.
        RecipeError: a setting is wrong.
    """
    check_trained(directory)
    path = str(directory / "recipe.yaml")
    recipe = load_model_recipe(HyreRecipe, path, settings, default=path)
    return recipe.model_copy(update={"model": with_adapter(recipe.model, directory)})


def open_ensemble(directory: Path, recipe: HyreRecipe) -> tuple[Ensemble, FeatureReader]:
    """The main ensemble of a training run, and the reader of its features.

    Raises:
        ModelError: a file is broken, or the backbone has changed since.
        DataError: the ensemble is for another task than preferences.
    """
    ensemble = load_ensemble(directory / MAIN)
    check_heads(ensemble)
    reader = open_features(recipe.model, ensemble.info.features)
    check_backbone(ensemble, reader, directory)
    return ensemble, reader


def check_backbone(ensemble: Ensemble, reader: FeatureReader, directory: Path) -> None:
    """Whether the features are those that the ensemble was trained on.

    Raises:
        ModelError: they are another model's, or another adapter's.
    """
    if reader.identity != ensemble.info.identity:
        raise ModelError(
            f"{directory}: its ensemble was trained on other features: {ensemble.info.backbone} as it was "
            f"then ({ensemble.info.identity}), not {reader.identity}",
            fix="go back to that model, adapter and precision, or train again: lmtools hyre train",
        )


def open_reward(directory: Path, weights: Path | None = None) -> RewardModel:
    """The reward model of a training run under the weights in a file or run; without any, the prior's.

    Raises:
        RunError, ModelError, DataError: as ``trained_recipe``, ``open_ensemble`` and ``read_weights``.
    """
    recipe = trained_recipe(directory)
    ensemble, reader = open_ensemble(directory, recipe)
    digest = ensemble_digest(directory / MAIN)
    if weights is not None:
        return RewardModel(ensemble, reader, read_weights(weights, digest, ensemble.count))
    prior = before(ensemble.fit, recipe.adapt)
    nothing = np.zeros(ensemble.count)
    return RewardModel(ensemble, reader, Weights(prior, nothing, recipe.adapt, (), ensemble.sources, digest))


# `lmtools eval reward`: the accuracy of any reward model, for each distribution and RewardBench section.


def read_pairs(recipe: RewardRecipe) -> dict[str, list[Preference]]:
    """The pairs of each distribution, by its name.

    Raises:
        DataError: the source is missing or wrong, or holds no pair with two different answers.
        MachineError: the hub cannot be reached.
    """
    return read_targets(DataSettings(targets=recipe.pairs, target_limit=recipe.limit), recipe.seed)


def without_examples(
    pairs: Mapping[str, list[Preference]], examples: Collection[str]
) -> dict[str, list[Preference]]:
    """The pairs that a user's weights were not learned from; distributions without any are left out.

    Raises:
        DataError: none is left.
    """
    left = {name: [pair for pair in own if pair.key not in examples] for name, own in pairs.items()}
    count = sum(map(len, pairs.values())) - sum(map(len, left.values()))
    if count:
        say(f"{count} pairs are left out: the weights were learned from them")
    if not any(left.values()):
        raise DataError("the weights were learned from all of these pairs", fix="give others with --pairs")
    return {name: own for name, own in left.items() if own}


def margins(
    recipe: RewardRecipe, run: Path | None, pairs: Mapping[str, list[Preference]]
) -> tuple[Mapping[str, list[Preference]], dict[str, Floats]]:
    """The pairs that are measured, and the reward of each chosen answer less that of the rejected one.

    Both are by distribution, margins (n,) each. Pairs that a user's weights were learned from are left out.

    Args:
        run: the trained run to measure where the recipe names no model.

    Raises:
        ModelError: the model is no reward model, or the run's backbone has changed.
        LmtoolsError: run or weights cannot be used.
    """
    if recipe.model is not None:
        with closing(open_features(recipe.model, recipe.features)) as reader:
            if reader.own_head is None:
                raise ModelError(
                    f"{recipe.model.name} is no reward model: it has no head of a single number",
                    fix="name a sequence-classification model of one label, or a run with --run RUN",
                )
            features = reader.read(_answers(pairs), "rewards").astype(np.float64)
            rewards = features @ reader.own_head
    else:
        assert run is not None
        model = open_reward(run, Path(recipe.weights) if recipe.weights else None)
        with closing(model.reader):
            if recipe.weights:
                pairs = without_examples(pairs, model.weights.examples)
                rewards = model(_answers(pairs))
            else:
                single = load_ensemble(run / SINGLE)
                check_backbone(single, model.reader, run)
                rewards = single.outputs(model.reader.read(_answers(pairs), "rewards"))[:, 0]
    both = rewards[::2] - rewards[1::2]
    ends = np.cumsum([len(own) for own in pairs.values()])[:-1]
    return pairs, dict(zip(pairs, np.split(both, ends), strict=True))


def _answers(pairs: Mapping[str, list[Preference]]) -> list[AnsweredPrompt]:
    return answers([pair for own in pairs.values() for pair in own])


def rows(name: str, found: Mapping[str, Floats], recipe: RewardRecipe) -> list[Row]:
    """One row: ``accuracy`` is the mean over distributions, ``pairs/accuracy`` that over all pairs,
    ``NAME/accuracy`` a distribution's or a RewardBench section's."""
    right = {distribution: correct(values) for distribution, values in found.items()}
    again = recipe.resamples, recipe.seed
    metrics = {
        "accuracy": _weighted(right, {d: 1 / (len(right) * len(own)) for d, own in right.items()}, *again),
        "pairs/accuracy": bootstrap_mean(np.concatenate(list(right.values())), None, *again),
    }
    sections = section_weights({distribution: len(own) for distribution, own in right.items()})
    metrics |= {
        f"{section}/accuracy": _weighted(right, weights, *again) for section, weights in sections.items()
    }
    metrics |= {
        # A source without distributions is named by its file, which may be called anything.
        f"{d}/accuracy" if f"{d}/accuracy" not in metrics else f"{d} (distribution)/accuracy": bootstrap_mean(
            own, None, *again
        )
        for d, own in right.items()
    }
    return [Row(name, metrics)]


def _weighted(
    right: Mapping[str, Floats], weights: Mapping[str, float], resamples: int, seed: int
) -> Interval:
    """A weighted sum over pairs, each distribution resampled by itself; ``weights`` are of single pairs."""
    value, resampled, n = 0.0, np.zeros(resamples), 0
    for number, (distribution, weight) in enumerate(weights.items()):
        own = right[distribution]
        value += weight * float(own.sum())
        blocks = [block @ own for block in resample_weights(len(own), None, resamples, seed + number)]
        resampled += weight * np.concatenate(blocks)
        n += len(own)
    return percentile_interval(value, resampled, n)
