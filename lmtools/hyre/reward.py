"""A user's reward model: a trained run, and the weights that a few examples gave its heads.

reward = open_reward(Path("runs/hyre-train"), Path("runs/hyre-adapt"))
reward([Answered((Message("user", "Name a river."),), "The Seine.")])       # (1,)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmtools.core.errors import ModelError
from lmtools.generation.open_features import open_features
from lmtools.hyre.adapt import before, check_heads
from lmtools.hyre.ensemble import Ensemble, ensemble_digest, load_ensemble
from lmtools.hyre.ensembles import MAIN, check_trained
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.reweighting import Floats
from lmtools.hyre.tuned import with_adapter
from lmtools.hyre.weights import Weights, read_weights
from lmtools.models.features import Answered, FeatureReader
from lmtools.models.recipes import load_model_recipe


@dataclass(frozen=True)
class RewardModel:
    """An ensemble with the reader of its features, under some weights."""

    ensemble: Ensemble
    reader: FeatureReader
    weights: Weights

    def __call__(self, answered: Sequence[Answered]) -> Floats:
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
