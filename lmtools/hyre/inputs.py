"""From a recipe to the ensembles of a run: pairs and a reader of features, a tuned backbone, heads.

    prepare          reads the pairs and finds the model, before a run is opened; loads no weights
    tuned_inputs     the same with the backbone fine-tuned, where the recipe says so
    train            all of `lmtools hyre train` in a run that is open
    train_on_pairs   the features of the training pairs, and every ensemble

What is in the run directory already is only read.
"""

from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from lmtools.core.intervals import RATE, mean_interval
from lmtools.core.progress import say
from lmtools.core.results import Results, Row, read_results
from lmtools.core.run import METRICS, Run
from lmtools.data.records import Preference
from lmtools.data.sources import source_hash
from lmtools.generation.open import open_features
from lmtools.hyre.ensemble import EnsembleInfo
from lmtools.hyre.lora import STATE, check_lora, train_adapter
from lmtools.hyre.pairs import PairFeatures, read_features, read_targets, read_training, reading
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.train import SINGLE_HEAD, Ensembles, train_ensembles
from lmtools.hyre.tuned import ADAPTER, with_adapter
from lmtools.metrics.preference import correct, disagreements
from lmtools.models.features import FeatureReader
from lmtools.models.files import model_hashes
from lmtools.models.load import pick_device

DIAGNOSED = 512
"""Training pairs over which disagreement is measured."""


@dataclass(frozen=True)
class PairInputs:
    """What a run on pairs works with; ``hashes`` are the SHA-256 of everything that was read, by name.

    ``train`` is empty where an ensemble is there already, ``targets`` where nothing is measured.
    """

    recipe: HyreRecipe
    reader: FeatureReader
    train: tuple[Preference, ...]
    targets: dict[str, list[Preference]]
    hashes: dict[str, str]


def prepare(recipe: HyreRecipe, *, train: bool = True, targets: bool = False) -> PairInputs:
    """Read the pairs, find the model, hash both; loads no weights.

    Args:
        train: whether to read the pairs to learn from, and ``targets`` those of the users.

    Raises:
        RecipeError: the backbone cannot be fine-tuned, since it has an adapter.
        DataError: something is wrong with the pairs.
        ModelError: the model or its adapter cannot be used, or gives no such features.
        MachineError: a download failed.
    """
    if train:
        check_lora(recipe)
    pairs = read_training(recipe.data, recipe.seed) if train else []
    users = read_targets(recipe.data, recipe.seed) if targets else {}
    reader = open_features(recipe.model, recipe.features)
    sources = [recipe.data.train] * train + [recipe.data.targets] * targets
    hashes = {source: source_hash(source) for source in sources} | model_hashes(recipe.model)
    return PairInputs(recipe, reader, tuple(pairs), users, hashes)


def train(inputs: PairInputs, run: Run, recipe_name: str) -> Results:
    """The work of `lmtools hyre train` in a run that is open. A finished run is only read.

    Raises:
        ModelError: the model's numbers, or the loss of the heads, are not finite.
        MachineError: the cache or the run cannot be written.
    """
    if run.path(METRICS).exists():
        return read_results(run.path(METRICS))
    inputs = tuned_inputs(inputs, run)
    with closing(inputs.reader):
        features, ensembles = train_on_pairs(inputs, run)
    say(f"{len(features.pairs)} pairs, {features.chosen.shape[1]} features")
    return run.results(recipe_name, training_rows(features, ensembles, inputs.recipe))


def tuned_inputs(inputs: PairInputs, run: Run) -> PairInputs:
    """The inputs with the fine-tuned backbone, which is trained where the run has none yet.

    Without ``lora`` in the recipe they are what they were. Else their reader is a new one, to be closed.

    Raises:
        RecipeError: the recipe's model has an adapter already.
        ModelError: its backend cannot be trained, or the loss is not a number.
        MachineError: there is not enough memory, or the run cannot be written.
        RunError: the state of an unfinished training is broken.
    """
    recipe, target = inputs.recipe, run.path(ADAPTER)
    check_lora(recipe)
    if recipe.lora is None:
        return inputs
    if not target.exists():
        inputs.reader.close()
        with run.stage("LoRA under the heads"):
            train_adapter(recipe, recipe.lora, inputs.train, run)
    run.path(STATE).unlink(missing_ok=True)
    tuned = recipe.model_copy(update={"model": with_adapter(recipe.model, run.directory)})
    return replace(inputs, recipe=tuned, reader=open_features(tuned.model, tuned.features))


def train_on_pairs(inputs: PairInputs, run: Run) -> tuple[PairFeatures, Ensembles]:
    """The features of the training pairs, and the ensembles; what is there already is only read."""
    recipe, reader = inputs.recipe, inputs.reader
    with run.stage("features of the training pairs", partial(reading, reader, inputs.train)):
        features = read_features(reader, {"train": inputs.train}, "training pairs")["train"]
    info = EnsembleInfo(
        task="preference", groups=(), backbone=recipe.model.name, identity=reader.identity,
        features=recipe.features,
    )  # fmt: skip
    device = pick_device(recipe.model.device)
    return features, train_ensembles(recipe, features.training(), info, run, reader.own_head, device)


def training_rows(features: PairFeatures, ensembles: Ensembles, recipe: HyreRecipe) -> list[Row]:
    """How each ensemble fits the training pairs: whether it has learned and is diverse, not its quality."""
    resampling = recipe.eval.resamples, recipe.seed
    rows = []
    for name, ensemble in {**ensembles.by_name, SINGLE_HEAD: ensembles.single}.items():
        margins = ensemble.outputs(features.chosen) - ensemble.outputs(features.rejected)
        metrics = {
            "train-accuracy": mean_interval(correct(margins.mean(axis=1)), None, *resampling, bounds=RATE),
            "heads-train-accuracy": mean_interval(
                correct(margins).mean(axis=1), None, *resampling, bounds=RATE
            ),
            "disagreement": mean_interval(disagreements(margins[:DIAGNOSED]), None, *resampling, bounds=RATE),
        }
        rows.append(Row(name, metrics))
    return rows
