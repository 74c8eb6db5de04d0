"""A user's reward model: a trained run, and the weights that a few examples gave its heads.

    with load_reward("runs/hyre-train", "runs/hyre-adapt") as reward:
        reward.best("Name a river.", ["The Seine.", "I do not know."])

`RewardModel` gives the rewards of many answers at once; `Rewarder` is the same for Python, with strings. The
second half is `lmtools eval reward`: the accuracy of any reward model, for each distribution of pairs and
each section of RewardBench.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, ModelError
from lmtools.core.intervals import BOUNDED, RATE, bounded_interval, mean_interval, resample_weights
from lmtools.core.progress import say
from lmtools.core.results import Interval, Row
from lmtools.core.run import RECIPE
from lmtools.data.records import Preference
from lmtools.generation.open import open_features
from lmtools.hyre.adapt import Weights, check_heads, prior_weights, read_weights
from lmtools.hyre.ensemble import Ensemble, ensemble_digest, load_ensemble
from lmtools.hyre.pairs import answers, read_features, read_targets
from lmtools.hyre.personal import fit_weights, margins
from lmtools.hyre.recipe import DataSettings, HyreRecipe, RewardRecipe
from lmtools.hyre.train import MAIN, SINGLE, check_trained
from lmtools.hyre.tuned import with_adapter
from lmtools.metrics.preference import correct, section_weights
from lmtools.models.chat import Message
from lmtools.models.features import AnsweredPrompt, FeatureReader
from lmtools.models.recipes import check_there, load_model_recipe

# A trained run, opened


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


def trained_recipe(directory: Path, settings: Sequence[str] = (), *, targets: bool = False) -> HyreRecipe:
    """The recipe of a training run, with some settings changed; its model has the adapter that the run made.

    Args:
        targets: whether its targets are needed too.

    Raises:
        RunError: the directory holds no trained ensemble, or what its recipe names is gone.
        RecipeError: a setting is wrong.
    """
    check_trained(directory)
    path = str(directory / RECIPE)
    recipe = load_model_recipe(HyreRecipe, path, settings, default=path)
    check_there(recipe, directory, "model.", *["data.targets"] * targets)
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
    prior = prior_weights(ensemble.train_loss, recipe.adapt)
    nothing = np.zeros(ensemble.count)
    return RewardModel(ensemble, reader, Weights(prior, nothing, recipe.adapt, (), ensemble.sources, digest))


@dataclass(frozen=True)
class Rewarder:
    """A reward model for one user: an ensemble under weights. Made by ``load_reward``.

    >>> from lmtools.hyre import load_reward
    >>> with load_reward("runs/hyre-train") as reward:
    ...     rewards = reward.score("Name a river.", ["The Seine.", "I do not know."])
    >>> len(rewards)
    2
    """

    model: RewardModel

    def score(self, prompt: str | Sequence[Message], answers: Sequence[str]) -> list[float]:
        """The rewards of answers to one prompt, a text or the turns of a conversation.

        Only rewards of answers to the same prompt compare.

        Raises:
            DataError: an answer is empty.
        """
        turns = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        rewards = self.model([AnsweredPrompt(turns, answer) for answer in answers])
        return [float(reward) for reward in rewards]

    def best(self, prompt: str | Sequence[Message], answers: Sequence[str]) -> str:
        """The answer with the highest reward, of equal ones the first."""
        rewards = self.score(prompt, answers)
        return answers[rewards.index(max(rewards))]

    def adapt(self, pairs: Sequence[Preference]) -> "Rewarder":
        """The reward model of the user who labelled these pairs: other weights on the same heads.

        It takes a pass of the language model over the pairs, and no training. Pairs that these weights were
        learned from are not remembered: give all of a user's pairs at once.

        >>> from lmtools.hyre import Preference, load_reward
        >>> liked = {"prompt": "Name a river.", "chosen": "Seine", "rejected": "The Seine, of course."}
        >>> with load_reward("runs/hyre-train") as reward:
        ...     personal = reward.adapt([Preference(**liked)])
        >>> personal.model.weights.effective_heads < reward.model.weights.effective_heads
        True
        """
        prior, ensemble = self.model.weights, self.model.ensemble
        features = read_features(self.model.reader, {"": pairs}, "labelled pairs")[""]
        labelled = margins(ensemble, features, prior.settings)
        weights = fit_weights(ensemble, labelled, features.keys, prior.settings, prior.ensemble)
        return Rewarder(replace(self.model, weights=weights))

    def close(self) -> None:
        """Let go of the language model; what was adapted from this one shares it."""
        self.model.reader.close()

    def __enter__(self) -> "Rewarder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# `lmtools eval reward`


def measured_name(recipe: RewardRecipe) -> str:
    """The row's name: the model, or which part of the ensemble is measured."""
    if recipe.model is not None:
        return recipe.model.name
    return "hyre" if recipe.weights else "single-head"


def read_reward_pairs(recipe: RewardRecipe) -> dict[str, list[Preference]]:
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
    left = {name: [pair for pair in group if pair.key not in examples] for name, group in pairs.items()}
    count = sum(map(len, pairs.values())) - sum(map(len, left.values()))
    if count:
        say(f"{count} pairs are left out: the weights were learned from them")
    if not any(left.values()):
        raise DataError("the weights were learned from all of these pairs", fix="give others with --pairs")
    return {name: group for name, group in left.items() if group}


def preference_margins(
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
    elif recipe.weights:
        assert run is not None
        model = open_reward(run, Path(recipe.weights))
        with closing(model.reader):
            pairs = without_examples(pairs, model.weights.examples)
            rewards = model(_answers(pairs))
    else:
        assert run is not None
        _, reader = open_ensemble(run, trained_recipe(run))
        with closing(reader):
            single = load_ensemble(run / SINGLE)
            check_backbone(single, reader, run)
            rewards = single.outputs(reader.read(_answers(pairs), "rewards"))[:, 0]
    margins = rewards[::2] - rewards[1::2]
    ends = np.cumsum([len(group) for group in pairs.values()])[:-1]
    return pairs, dict(zip(pairs, np.split(margins, ends), strict=True))


def _answers(pairs: Mapping[str, list[Preference]]) -> list[AnsweredPrompt]:
    return answers([pair for group in pairs.values() for pair in group])


def reward_rows(name: str, margins: Mapping[str, Floats], recipe: RewardRecipe) -> list[Row]:
    """One row: ``accuracy`` is the mean over distributions, ``pairs/accuracy`` that over all pairs,
    ``NAME/accuracy`` a distribution's or a RewardBench section's."""
    right = {distribution: correct(values) for distribution, values in margins.items()}
    resampling = recipe.resamples, recipe.seed
    equal = {part: 1 / (len(right) * len(values)) for part, values in right.items()}
    metrics = {
        "accuracy": _weighted(right, equal, *resampling),
        "pairs/accuracy": mean_interval(np.concatenate(list(right.values())), None, *resampling, bounds=RATE),
    }
    sections = section_weights({distribution: len(values) for distribution, values in right.items()})
    for section, weights in sections.items():
        metrics[f"{section}/accuracy"] = _weighted(right, weights, *resampling)
    taken = set(metrics)
    for distribution, values in right.items():
        metric = f"{distribution}/accuracy"
        if (
            metric in taken
        ):  # a source without distributions is named by its file, which may be called anything
            metric = f"{distribution} (distribution)/accuracy"
        metrics[metric] = mean_interval(values, None, *resampling, bounds=RATE)
    return [Row(name, metrics)]


def _weighted(
    right: Mapping[str, Floats], weights: Mapping[str, float], resamples: int, seed: int
) -> Interval:
    """A weighted sum over pairs, each distribution resampled by itself; ``weights`` are of single pairs."""
    value, resampled, n = 0.0, np.zeros(resamples), 0
    unsure, prior = np.zeros(resamples), np.zeros(resamples)
    for number, (distribution, weight) in enumerate(weights.items()):
        values = right[distribution]
        drawn = resample_weights(len(values), None, resamples, seed + number)
        block, prior = map(np.concatenate, zip(*drawn, strict=True))
        mass, share = block.sum(axis=1), weight * len(values)
        value += weight * float(values.sum())
        resampled += share * (block @ values) / mass
        unsure += share**2 / mass
        n += len(values)
    # As sure as so many pairs are whose weights are alike.
    return bounded_interval(value, resampled, 1 / unsure, prior, RATE, n, n, f"{BOUNDED}, by distribution")
