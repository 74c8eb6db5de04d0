"""`lmtools hyre train`: read the pairs once, then train every ensemble on what was read."""

from contextlib import closing
from functools import partial

from lmtools.core.progress import say
from lmtools.core.results import Results, Row, bootstrap, bootstrap_mean, read_results
from lmtools.core.run import Run
from lmtools.hyre.ensemble import EnsembleInfo
from lmtools.hyre.inputs import Setup, adapted_setup
from lmtools.hyre.pairs import PairFeatures, read_features, reading
from lmtools.hyre.train import Ensembles, train_ensembles
from lmtools.metrics.preference import correct, pairwise_disagreement
from lmtools.models.load import pick_device

DIAGNOSED = 512
"""Training pairs over which disagreement is measured."""


def train(setup: Setup, run: Run, recipe_name: str) -> Results:
    """Train every ensemble of the recipe. A finished run is only read.

    Raises:
        ModelError: the model's numbers, or the loss of the heads, are not finite.
        MachineError: the cache or the run cannot be written.
    """
    if run.path("metrics.json").exists():
        return read_results(run.path("metrics.json"))
    setup = adapted_setup(setup, run)
    with closing(setup.reader):
        features, found = train_on_pairs(setup, run)
    return run.results(recipe_name, summary(features, found, setup))


def train_on_pairs(setup: Setup, run: Run) -> tuple[PairFeatures, Ensembles]:
    """The features of the training pairs, and the ensembles; what is there already is only read."""
    recipe = setup.recipe
    with run.stage("features of the training pairs", partial(reading, setup.reader, setup.train)):
        features = read_features(setup.reader, {"train": setup.train}, "training pairs")["train"]
    info = EnsembleInfo(
        task="preference",
        groups=(),
        backbone=recipe.model.name,
        identity=setup.reader.identity,
        features=recipe.features,
    )
    own = setup.reader.own_head
    device = pick_device(recipe.model.device)
    return features, train_ensembles(recipe, features.training(), info, run, own, device)


def summary(features: PairFeatures, found: Ensembles, setup: Setup) -> list[Row]:
    """How each ensemble fits the training pairs: whether it has learned and is diverse, not its quality."""
    recipe, rows = setup.recipe, []
    resamples, seed = recipe.eval.resamples, recipe.seed
    for name, ensemble in {**found.by_name, "single head": found.single}.items():
        margins = ensemble.outputs(features.chosen) - ensemble.outputs(features.rejected)
        some = margins[:DIAGNOSED]
        rows.append(
            Row(
                name,
                {
                    "train-accuracy": bootstrap_mean(correct(margins.mean(axis=1)), None, resamples, seed),
                    "heads-train-accuracy": bootstrap_mean(
                        correct(margins).mean(axis=1), None, resamples, seed
                    ),
                    "disagreement": bootstrap(pairwise_disagreement, [some], None, 200, seed),
                },
            )
        )
    say(f"{len(features.pairs)} pairs, {features.chosen.shape[1]} features")
    return rows
