"""All methods of a recipe, fitted on one cache: heads, scalars, vector scaling, confidence maps."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lmtools.ats.artefact import (
    SETTINGS,
    VECTOR_FILE,
    BaseInfo,
    Baselines,
    check_base,
    find_head,
    head_digest,
    load_baselines,
    load_head,
    read_settings,
    save_baselines,
    save_head,
)
from lmtools.ats.baselines import (
    ConfidenceMap,
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
from lmtools.ats.extract import OutputLayer
from lmtools.ats.heads import ScalarHead, TemperatureHead, build_head
from lmtools.ats.inputs import Setup
from lmtools.ats.losses import Objective, cross_entropy
from lmtools.ats.recipe import LOSSES, HeadConfig, method_name
from lmtools.ats.train import Epoch, train_head
from lmtools.calibration.scoring import UNCALIBRATED
from lmtools.core.errors import MachineError, ModelError, RecipeError, RunError
from lmtools.core.files import sha256_text
from lmtools.core.progress import say
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.tracking import Point, StepCallback
from lmtools.models.files import on_hub, resolve_without_weights
from lmtools.models.load import LoadedModel, identity, pick_device
from lmtools.models.spec import ModelSpec

# Every way to calibrate that an ATS run has fitted, by name.
#
# A run holds ``head/`` (the recipe's head), ``heads/KIND/`` (others, for comparison), ``baselines.json``
# and ``vector.safetensors``. A head's directory alone stands for that head alone.

VECTOR = "vector scaling"
ORDER = (
    UNCALIBRATED,
    *(f"scalar ({loss})" for loss in LOSSES.values() if loss != "NLL"),
    "scalar (NLL)",
    VECTOR,
    "Platt",
    "histogram binning",
    "scaling-binning",
    "isotonic",
    "transformer",
    "mlp",
    "linear",
)
"""How tables order methods; any others come last."""

T = TypeVar("T")


@dataclass(frozen=True)
class Methods:
    """What can be done to a model's probabilities.

    ``heads`` and ``scalars`` (log multipliers) multiply logits, ``vector`` maps logits, ``maps`` map a
    confidence. ``digests`` names each method but "uncalibrated" by content.
    """

    heads: Mapping[str, TemperatureHead] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    vector: VectorScaling | None = None
    maps: Mapping[str, ConfidenceMap] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them in the order of tables, "uncalibrated" first."""
        vector = (VECTOR,) if self.vector is not None else ()
        return in_order({UNCALIBRATED, *self.heads, *self.scalars, *vector, *self.maps})

    def only(self, names: Sequence[str]) -> "Methods":
        """Some of them; none named: all.

        Raises:
            RecipeError: one is not there.
        """
        if not names:
            return self
        for name in names:
            if name not in self.names:
                near = get_close_matches(name, self.names, n=1, cutoff=0.4)
                raise RecipeError(
                    f"{name!r} is none of the methods that were fitted: {', '.join(self.names)}",
                    fix=f"did you mean {near[0]!r}?" if near else "name some of these",
                )
        return replace(
            self,
            heads=_some(self.heads, names),
            scalars=_some(self.scalars, names),
            vector=self.vector if VECTOR in names else None,
            maps=_some(self.maps, names),
            digests=_some(self.digests, names),
        )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods in the order of tables."""
    return tuple(sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)))


def load_methods(path: Path, base: LoadedModel | None = None) -> Methods:
    """What was fitted.

    Args:
        path: a run of ``lmtools ats fit``, or a head's directory.
        base: the model they will be used on; None: not checked, on the processor.

    Raises:
        ModelError: a piece is missing or broken, or it is for another model.
        RunError: two heads have one name.
    """
    main = find_head(path)
    others = sorted(found.parent for found in (path / "heads").glob("*/head.json")) if main != path else []
    heads: dict[str, Path] = {}
    for directory in (main, *others):
        settings = read_settings(directory)
        name = method_name(settings.head.kind, str(settings.loss.get("name", "selective_smoothing")))
        if name in heads:
            raise RunError(
                f"{directory} and {heads[name]} are both a head called {name!r}",
                fix=f"remove {directory}, or fit into another directory",
            )
        heads[name] = directory
    loaded = {name: load_head(directory, base) for name, directory in heads.items()}
    baselines = load_baselines(path) if main != path else Baselines()
    if baselines.vector is not None:
        _check_vocabulary(baselines.vector, next(iter(loaded.values())), path)
    return methods_of(loaded, baselines, {name: head_digest(directory) for name, directory in heads.items()})


def methods_of(
    heads: Mapping[str, TemperatureHead], baselines: Baselines, digests: Mapping[str, str]
) -> Methods:
    """Heads, by method, and baselines as one; of a scalar that is both, the head counts.

    Args:
        digests: the digest of every head.
    """
    scalars = {name: value for name, value in baselines.scalars.items() if name not in heads}
    found = {**digests, **{name: f"log multiplier {value!r}" for name, value in scalars.items()}}
    found |= {name: sha256_text(map_.model_dump_json()) for name, map_ in baselines.maps.items()}
    if baselines.vector is not None:
        found[VECTOR] = baselines.vector.digest
    return Methods(heads, scalars, baselines.vector, baselines.maps, found)


def _check_vocabulary(vector: VectorScaling, head: TemperatureHead, path: Path) -> None:
    if len(vector.weight) != head.shape.vocabulary:
        raise ModelError(
            f"the vector scaling in {path} is for {len(vector.weight)} vocabulary entries, "
            f"and the model has {head.shape.vocabulary}",
            fix="fit again: lmtools ats fit",
        )


def _some(values: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    return {name: value for name, value in values.items() if name in names}


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


def _vector(fit: Fit, path: Path, told: StepCallback) -> VectorScaling:
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


# What a run has fitted, and whether it belongs to a model: told before the model's weights are loaded.


def fitted_methods(run: Path, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """The methods that a reader of ``run`` has, in the order of tables; none chosen: all.

    Raises:
        RecipeError: one of those chosen was not fitted.
        ModelError: a piece of the run is missing or broken.
        RunError: two heads of the run have one name.
    """
    return load_methods(run).only(chosen).names


def check_fits(run: Path, spec: ModelSpec) -> None:
    """Whether the heads of ``run`` were fitted on a model, by configuration and by the hashes of its files.

    Raises:
        ModelError: a head is for another model.
        MachineError: the model is on the hub, where only its sizes can be compared: they agree, or the hub
            cannot be reached.
    """
    from transformers import AutoConfig

    remote, files = on_hub(spec.name), resolve_without_weights(spec)
    config = AutoConfig.from_pretrained(files.path, trust_remote_code=spec.trust_remote_code)
    for directory in _heads(run):
        settings = read_settings(directory)
        found = _identity(settings.base) if remote else identity(spec, files)
        check_base(settings, directory, found, config)
    if remote:
        raise MachineError(
            f"the sizes agree; the weights of {spec.name} are compared once they are here",
            fix=f"download {spec.name} and name its directory",
        )


def _heads(run: Path) -> list[Path]:
    main = find_head(run)
    return [main, *sorted(path.parent for path in (run / "heads").glob(f"*/{SETTINGS}"))]


def _identity(base: BaseInfo) -> str:
    """The model a head was fitted on, as ``LoadedModel.identity``."""
    return f"{base.digest}{'+' if base.adapter else ''}{base.adapter}@{base.dtype}"
