"""All methods of a recipe, fitted on one cache: heads, scalars, vector scaling, confidence maps."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmtools.ats.artefact import SETTINGS, BaseInfo, load_head, save_head
from lmtools.ats.baselines.artefact import VECTOR_FILE, Baselines, save_baselines
from lmtools.ats.baselines.confidence import fit_maps, top_confidence
from lmtools.ats.baselines.scalar import fit_scalar
from lmtools.ats.baselines.vector import VectorScaling, VectorSettings, fit_vector, load_vector, save_vector
from lmtools.ats.batches import Batches
from lmtools.ats.cache import FeatureCache
from lmtools.ats.head_config import HeadConfig, method_name
from lmtools.ats.heads import ScalarHead, TemperatureHead, build_head
from lmtools.ats.losses import cross_entropy
from lmtools.ats.methods import VECTOR
from lmtools.ats.objective import Objective
from lmtools.ats.output_layer import OutputLayer
from lmtools.ats.setup import Setup
from lmtools.ats.summary import Summary
from lmtools.ats.train import train_head
from lmtools.ats.training_state import Epoch
from lmtools.core.curves import Point, Told
from lmtools.core.progress import say
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.models.load import LoadedModel, pick_device


@dataclass(frozen=True)
class Fit:
    """A cache, and how to fit on it; ``load`` opens the language model where its output layer is needed."""

    setup: Setup
    cache: FeatureCache
    load: Callable[[], LoadedModel]

    @property
    def objective(self) -> Objective:
        """The recipe's loss."""
        return Objective(self.setup.recipe.loss)

    @cached_property
    def device(self) -> str:
        """Where heads are trained."""
        return pick_device(self.setup.recipe.model.device)

    @cached_property
    def output(self) -> OutputLayer:
        """The language model's output layer."""
        return OutputLayer(self.load())

    @cached_property
    def train_summary(self) -> Summary:
        """Of all tokens to fit on."""
        return self.cache.summary(self.setup.split.train)

    def masked(self, sequences: tuple[int, ...]) -> int:
        """How many tokens of these sequences are no response."""
        chosen = list(sequences)
        return int(self.cache.lengths()[chosen].sum() - self.cache.counts()[chosen].sum())

    def batches(self, config: HeadConfig, exact: bool = False) -> Batches:
        """Batches for heads of one configuration."""
        needed = exact or "argmax-row" in config.features
        return Batches(self.cache, config, self.device, self.output if needed else None, exact)


def fit_head(fit: Fit, config: HeadConfig, directory: Path, run: Run) -> TemperatureHead:
    """Fit a head and write it to ``directory``; one that is there is only read.

    Raises:
        ModelError: the loss is not a number.
    """
    if (directory / SETTINGS).exists():
        return load_head(directory).to(fit.device)
    recipe = fit.setup.recipe
    seed = derive(recipe.seed, "head", config.kind)
    head = build_head(config, fit.setup.shape, seed).to(fit.device)
    state = run.path("training", f"{config.kind}.safetensors")
    if isinstance(head, ScalarHead):
        _solve(fit, head)
    else:
        journal, told = run.journal(), run.curve(config.kind)

        def record(epoch: Epoch) -> None:
            key = f"{config.kind}/epoch {epoch.number}"
            if key not in journal:
                journal.append(key, asdict(epoch))
            told(Point(epoch.steps, epoch.number, epoch.loss, epoch.learning_rate, epoch.validation))

        train_head(
            head,
            fit.batches(config, recipe.exact),
            fit.setup.split.train,
            fit.setup.split.validation,
            fit.objective,
            recipe.train,
            seed,
            state=state,
            finished=record,
        )
    base = BaseInfo.of(recipe.model.name, fit.setup.identity)
    save_head(head, directory, base, recipe.loss.model_dump(mode="json"))
    state.unlink(missing_ok=True)
    return head.eval().requires_grad_(False)


def _solve(fit: Fit, head: ScalarHead) -> None:
    """The scalar with the lowest loss on the training tokens."""
    masked = fit.masked(fit.setup.split.train)
    found = fit_scalar(
        fit.train_summary, lambda summary, s: fit.objective.mean(summary, s, masked), head.config.clip
    )
    with torch.no_grad():
        head.log_multiplier.fill_(found)


def fit_baselines(fit: Fit, run: Run) -> Baselines:
    """Fit the recipe's baselines and write them into the run."""
    recipe = fit.setup.recipe
    scalars = {}
    if "scalar (NLL)" in recipe.compare:
        scalars["scalar (NLL)"] = fit_scalar(fit.train_summary, cross_entropy, recipe.head.clip)
    vector = _vector(fit, run.path(VECTOR_FILE), run.curve(VECTOR)) if VECTOR in recipe.compare else None
    confidence, correct = top_confidence(fit.train_summary)
    maps = fit_maps(confidence, correct, derive(recipe.seed, "confidence maps") % 2**32)
    wanted = {str(name): maps[name] for name in recipe.compare if name in maps}
    baselines = Baselines(scalars, wanted, vector)
    save_baselines(baselines, run.directory)
    return baselines


def _vector(fit: Fit, path: Path, told: Told) -> VectorScaling:
    """Vector scaling on tokens drawn by seed; one that is there is only read."""
    if path.exists():
        return load_vector(path)
    settings, seed = fit.setup.recipe.vector, derive(fit.setup.recipe.seed, VECTOR)
    train = fit.cache.tokens(fit.setup.split.train)
    if settings.tokens is not None and len(train) > settings.tokens:
        chosen = np.random.default_rng(seed).choice(len(train), settings.tokens, replace=False)
        say(f"vector scaling: on {settings.tokens:,} of {len(train):,} tokens (vector.tokens)")
        train = train[np.sort(chosen)]
    output = fit.output

    def logits_of(tokens: Tensor) -> Tensor:
        return output(fit.cache.states(tokens.numpy()))

    found = fit_vector(
        logits_of,
        torch.from_numpy(np.array(fit.cache.arrays["labels"])),
        torch.from_numpy(train),
        torch.from_numpy(fit.cache.tokens(fit.setup.split.validation)),
        VectorSettings(rate=settings.learning_rate, epochs=settings.epochs, seed=seed % 2**63),
        told,
    )
    save_vector(found, path)
    return found


def head_directories(fit: Fit, run: Run) -> dict[str, tuple[HeadConfig, Path]]:
    """Method's name -> each head's configuration and where it goes, the main one first."""
    main = fit.setup.recipe.head.kind
    return {
        method_name(head.kind, fit.setup.recipe.loss.name): (
            head,
            run.path("head") if head.kind == main else run.path("heads", head.kind),
        )
        for head in fit.setup.recipe.heads
    }


def clear(run: Run) -> None:
    """Remove what only an unfinished fit needs."""
    shutil.rmtree(run.path("training"), ignore_errors=True)
