"""`lmtools eval reward`: the accuracy of any reward model, for each distribution and RewardBench section."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from lmtools.core.errors import ModelError
from lmtools.core.results import Row
from lmtools.core.statistics import Interval, bootstrap_mean, percentile_interval, resample_weights
from lmtools.data.records import Preference
from lmtools.generation.open_features import open_features
from lmtools.hyre.ensemble import load_ensemble
from lmtools.hyre.ensembles import SINGLE
from lmtools.hyre.pairs import answers, read_targets
from lmtools.hyre.recipe import DataSettings
from lmtools.hyre.reward import check_backbone, open_reward
from lmtools.hyre.reward_recipe import RewardRecipe
from lmtools.hyre.reweight import Floats
from lmtools.metrics.preference import correct
from lmtools.metrics.reward_bench import section_weights


def read_pairs(recipe: RewardRecipe) -> dict[str, list[Preference]]:
    """The pairs of each distribution, by its name.

    Raises:
        DataError: the source is missing or wrong, or holds no pair with two different answers.
        MachineError: the hub cannot be reached.
    """
    return read_targets(DataSettings(targets=recipe.pairs, target_limit=recipe.limit), recipe.seed)


def margins(
    recipe: RewardRecipe, run: Path | None, pairs: Mapping[str, list[Preference]]
) -> dict[str, Floats]:
    """The reward of each chosen answer less that of the rejected one, of every distribution: (n,) each.

    Args:
        run: the trained run to measure where the recipe names no model.

    Raises:
        ModelError: the model is no reward model, or the run's backbone has changed.
        LmtoolsError: run or weights cannot be used.
    """
    every = answers([pair for own in pairs.values() for pair in own])
    if recipe.model is not None:
        with closing(open_features(recipe.model, recipe.features)) as reader:
            if reader.own_head is None:
                raise ModelError(
                    f"{recipe.model.name} is no reward model: it has no head of a single number",
                    fix="name a sequence-classification model of one label, or a run with --run RUN",
                )
            rewards = reader.read(every, "rewards").astype(np.float64) @ reader.own_head
    else:
        assert run is not None
        model = open_reward(run, Path(recipe.weights) if recipe.weights else None)
        with closing(model.reader):
            if recipe.weights:
                rewards = model(every)
            else:
                single = load_ensemble(run / SINGLE)
                check_backbone(single, model.reader, run)
                rewards = single.outputs(model.reader.read(every, "rewards"))[:, 0]
    both = rewards[::2] - rewards[1::2]
    ends = np.cumsum([len(own) for own in pairs.values()])[:-1]
    return dict(zip(pairs, np.split(both, ends), strict=True))


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
    metrics |= {f"{d}/accuracy": bootstrap_mean(own, None, *again) for d, own in right.items()}
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
