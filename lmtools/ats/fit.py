"""All methods of a recipe, fitted on one feature cache: heads, scalars, vector scaling, confidence maps.

The language model has run before (``extract``). Each function here writes what it fits into the run, and only
reads what is there already: a fit that was interrupted goes on with the next piece.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmtools.ats.artefact import (
    SETTINGS,
    VECTOR_FILE,
    BaseInfo,
    Baselines,
    load_head,
    save_baselines,
    save_head,
)
from lmtools.ats.baselines import (
    VECTOR,
    VectorScaling,
    VectorSettings,
    fit_maps,
    fit_scalar,
    fit_vector,
    load_vector,
    save_vector,
    top_confidence,
)
from lmtools.ats.batches import Batches
from lmtools.ats.cache import FeatureCache, Summary
from lmtools.ats.extract import OutputLayer, extract
from lmtools.ats.heads import ScalarHead, TemperatureHead, build_head
from lmtools.ats.inputs import AtsInputs
from lmtools.ats.losses import cross_entropy, loss_function
from lmtools.ats.recipe import AtsRecipe, HeadConfig, method_name
from lmtools.ats.train import Epoch, train_head
from lmtools.core.progress import say
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.tracking import Point, StepCallback
from lmtools.models.load import LoadedModel, pick_device

TRAINING = "training"
"""The folder of a run where the states of heads in training are."""


@dataclass(frozen=True)
class FitData:
    """What methods are fitted on; ``open_model`` loads the language model, for its output layer alone."""

    inputs: AtsInputs
    cache: FeatureCache
    open_model: Callable[[], LoadedModel]

    @cached_property
    def device(self) -> str:
        """Where heads are trained."""
        return pick_device(self.inputs.recipe.model.device)

    @cached_property
    def output(self) -> OutputLayer:
        """The language model's output layer."""
        return OutputLayer(self.open_model())

    @cached_property
    def train_summary(self) -> Summary:
        """Of all tokens to fit on."""
        return self.cache.summary(self.inputs.split.train)

    def masked(self, sequences: tuple[int, ...]) -> int:
        """How many tokens of these sequences are no response."""
        chosen = list(sequences)
        return int(self.cache.lengths()[chosen].sum() - self.cache.counts()[chosen].sum())

    def batches(self, config: HeadConfig, exact: bool = False) -> Batches:
        """Batches for heads of one configuration."""
        needed = exact or "argmax-row" in config.features
        return Batches(self.cache, config, self.device, self.output if needed else None, exact)


def read_features(inputs: AtsInputs, open_model: Callable[[], LoadedModel]) -> FeatureCache:
    """The language model's one pass over the recipe's sequences; raises as ``extract`` does."""
    recipe = inputs.recipe
    return extract(
        inputs.rows,
        inputs.identity,
        open_model,
        batch_tokens=recipe.model.batch_tokens,
        device=pick_device(recipe.model.device),
        dtype=recipe.data.cache_dtype,
        from_logits=any(head.needs_logits for head in recipe.heads),
    )


def head_directories(recipe: AtsRecipe, run: Run) -> dict[str, tuple[HeadConfig, Path]]:
    """Method's name -> each head's configuration and where it goes, the recipe's head first."""
    return {
        method_name(head.kind, recipe.loss.name): (
            head,
            run.path("head") if head.kind == recipe.head.kind else run.path("heads", head.kind),
        )
        for head in recipe.heads
    }


def fit_head(data: FitData, config: HeadConfig, directory: Path, run: Run) -> TemperatureHead:
    """Fit a head and write it to ``directory``; one that is there is only read.

    Raises:
        ModelError: the loss is not a number.
    """
    if (directory / SETTINGS).exists():
        return load_head(directory).to(data.device)
    recipe, split = data.inputs.recipe, data.inputs.split
    seed = derive(recipe.seed, "head", config.kind)
    head = build_head(config, data.inputs.shape, seed).to(data.device)
    state = run.path(TRAINING, f"{config.kind}.safetensors")
    if isinstance(head, ScalarHead):
        # One number, and the loss is convex in it: solved for, not trained.
        loss = loss_function(recipe.loss, data.masked(split.train))
        with torch.no_grad():
            head.log_multiplier.fill_(fit_scalar(data.train_summary, loss, config.clip))
    else:
        journal, curve = run.journal(), run.curve(config.kind)

        def record(epoch: Epoch) -> None:
            # A resumed training tells of its earlier epochs again.
            key = f"{config.kind}/epoch {epoch.number}"
            if key not in journal:
                journal.append(key, asdict(epoch))
            curve(Point(epoch.steps, epoch.number, epoch.loss, epoch.learning_rate, epoch.validation))

        train_head(
            head, data.batches(config, recipe.exact), split.train, split.validation, recipe.loss,
            recipe.train, seed, state=state, finished=record,
        )  # fmt: skip
    base = BaseInfo.of(recipe.model.name, data.inputs.identity)
    save_head(head, directory, base, recipe.loss.model_dump(mode="json"))
    state.unlink(missing_ok=True)
    return head.eval().requires_grad_(False)


def fit_baselines(data: FitData, run: Run) -> Baselines:
    """Fit the recipe's baselines and write them into the run."""
    recipe = data.inputs.recipe
    scalars = {}
    if "scalar (NLL)" in recipe.compare:
        scalars["scalar (NLL)"] = fit_scalar(data.train_summary, cross_entropy, recipe.head.clip)
    vector = None
    if VECTOR in recipe.compare:
        vector = _fit_vector(data, run.path(VECTOR_FILE), run.curve(VECTOR))
    confidence, correct = top_confidence(data.train_summary)
    fitted = fit_maps(confidence, correct, derive(recipe.seed, "confidence maps") % 2**32)
    maps = {str(name): fitted[name] for name in recipe.compare if name in fitted}
    baselines = Baselines(scalars, maps, vector)
    save_baselines(baselines, run.directory)
    return baselines


def _fit_vector(data: FitData, path: Path, curve: StepCallback) -> VectorScaling:
    """Vector scaling on tokens drawn by seed; one that is there is only read."""
    if path.exists():
        return load_vector(path)
    recipe, split, output = data.inputs.recipe, data.inputs.split, data.output
    settings, seed = recipe.vector, derive(recipe.seed, VECTOR)
    train = data.cache.tokens(split.train)
    if settings.tokens is not None and len(train) > settings.tokens:
        chosen = np.random.default_rng(seed).choice(len(train), settings.tokens, replace=False)
        say(f"vector scaling: on {settings.tokens:,} of {len(train):,} tokens (vector.tokens)")
        train = train[np.sort(chosen)]

    def logits_of(tokens: Tensor) -> Tensor:
        return output(data.cache.states(tokens.numpy()))

    scaling = fit_vector(
        logits_of,
        torch.from_numpy(np.array(data.cache.arrays["labels"])),
        torch.from_numpy(train),
        torch.from_numpy(data.cache.tokens(split.validation)),
        VectorSettings(rate=settings.learning_rate, epochs=settings.epochs, seed=seed % 2**63),
        curve,
    )
    save_vector(scaling, path)
    return scaling


def remove_training_states(run: Run) -> None:
    """Remove what only an unfinished fit needs."""
    shutil.rmtree(run.path(TRAINING), ignore_errors=True)
