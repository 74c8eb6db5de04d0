"""A fitted run on disk: heads, baselines, and every way to calibrate that they make together.

    head/           head.json, head.safetensors: the recipe's head; this folder alone is a head too
    heads/KIND/     others, for comparison
    baselines.json  scalars and confidence maps; vector.safetensors beside it: vector scaling

``load_methods`` reads all of it, ``check_fits`` says beforehand whether it belongs to a model.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, TypeAdapter
from safetensors.torch import load_file, save

from lmtools import __version__
from lmtools.ats.baselines import VECTOR, ConfidenceMap, Finite, VectorScaling, load_vector, save_vector
from lmtools.ats.heads import TemperatureHead, build_head
from lmtools.ats.recipe import LOSSES, BaseShape, HeadConfig, base_shape, method_name
from lmtools.calibration.scoring import UNCALIBRATED
from lmtools.core.config import Config
from lmtools.core.errors import MachineError, ModelError, RecipeError, RunError
from lmtools.core.files import atomic_writer, sha256_text, write_json
from lmtools.core.stored import MALFORMED, describe, read_json
from lmtools.models.files import fingerprint, on_hub, resolve_without_weights
from lmtools.models.load import LoadedModel, filled_module, identity
from lmtools.models.spec import ModelSpec

FIT_AGAIN = "fit again: lmtools ats fit"
T = TypeVar("T")

# A head: `head.safetensors` and `head.json`.
#
# Tensors by kind, all float32, stored as (out, in):
#
# - transformer: ``layer.self_attn.{q,k,v,o}_proj.weight``, ``layer.mlp.{gate,up,down}_proj.weight``,
#   ``layer.input_layernorm.weight``, ``layer.post_attention_layernorm.weight`` (a Llama decoder layer without
#   biases, RoPE base 10000), ``output.weight`` (1, hidden) and ``output.bias`` (1,), and
#   ``projection.weight`` (hidden, features) where the joined features are not as wide as the model
# - mlp: ``gate_proj.weight``, ``up_proj.weight``, ``output.weight``, ``output.bias``
# - linear: ``output.weight``, ``output.bias``
# - scalar: ``log_multiplier`` (1,)
#
# ``head.json``: ``format``, ``head`` (``HeadConfig``), ``shape`` (``BaseShape``), ``base`` (``BaseInfo``),
# ``loss`` (the settings it was fitted with) and ``lmtools`` (the version that wrote it).

FORMAT = 1
WEIGHTS, SETTINGS = "head.safetensors", "head.json"
DIGITS = 16


@dataclass(frozen=True)
class BaseInfo:
    """The model a head was fitted on; digests are the first 16 hexadecimal digits of content's SHA-256."""

    name: str
    digest: str
    dtype: str
    adapter: str = ""
    """The digest of the adapter on top of it; empty without one."""

    @classmethod
    def of(cls, name: str, identity: str) -> "BaseInfo":
        """From a model's name and ``LoadedModel.identity``."""
        content, _, dtype = identity.partition("@")
        digest, _, adapter = content.partition("+")
        return cls(name, digest, dtype, adapter)

    @property
    def identity(self) -> str:
        """The model as ``LoadedModel.identity``."""
        return f"{self.digest}{'+' if self.adapter else ''}{self.adapter}@{self.dtype}"


_SHAPE = TypeAdapter(BaseShape)
_BASE = TypeAdapter(BaseInfo)


@dataclass(frozen=True)
class HeadSettings:
    """What ``head.json`` says."""

    head: HeadConfig
    shape: BaseShape
    base: BaseInfo
    loss: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The head's name in tables."""
        return method_name(self.head.kind, str(self.loss.get("name", "selective_smoothing")))


def save_head(head: TemperatureHead, directory: Path, base: BaseInfo, loss: Mapping[str, Any]) -> None:
    """Write a head; ``loss`` are JSON-able settings it was fitted with, kept for the record.

    Raises:
        MachineError: the directory cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    with atomic_writer(directory / WEIGHTS, "wb") as stream:
        stream.write(save(tensors))
    settings = {
        "format": FORMAT,
        "head": head.config.model_dump(mode="json"),
        "shape": asdict(head.shape),
        "base": asdict(base),
        "loss": dict(loss),
        "lmtools": __version__,
    }
    write_json(directory / SETTINGS, settings)


def find_head(path: Path) -> Path:
    """The head's directory: ``path`` itself, or ``head`` in it where it is a run of ``lmtools ats fit``.

    Raises:
        ModelError: there is none.
    """
    for directory in (path, path / "head"):
        if (directory / SETTINGS).is_file():
            return directory
    raise ModelError(
        f"{path} holds no head: there is no {SETTINGS} in it, nor in {path / 'head'}",
        fix="name a run of `lmtools ats fit`, or the head directory in it",
    )


def find_heads(path: Path) -> list[Path]:
    """The directories of all heads of a run, the recipe's first; of a head's directory, that alone.

    Raises:
        ModelError: there is none.
    """
    main = find_head(path)
    compared = [] if main == path else sorted(file.parent for file in (path / "heads").glob(f"*/{SETTINGS}"))
    return [main, *compared]


def head_digest(directory: Path) -> str:
    """A head by content, for the identity of what it calibrates: a SHA-256 in hexadecimal."""
    return fingerprint(directory)


def read_settings(directory: Path) -> HeadSettings:
    """What a head is, without its weights.

    Raises:
        ModelError: the file is missing or broken.
    """
    path = directory / SETTINGS
    try:
        value = read_json(path)
        if value["format"] != FORMAT:
            raise ModelError(
                f"{path}: format {value['format']}; this version reads {FORMAT}", fix="fit the head again"
            )
        return HeadSettings(
            head=HeadConfig.model_validate(value["head"]),
            shape=_SHAPE.validate_json(json.dumps(value["shape"]), strict=True),
            base=_BASE.validate_json(json.dumps(value["base"]), strict=True),
            loss=dict(value["loss"]),
        )
    except MALFORMED as error:
        raise ModelError(
            f"{path} is no head's settings: {describe(error)}", fix="fit the head again"
        ) from error


def load_head(directory: Path, base: LoadedModel | None = None) -> TemperatureHead:
    """A fitted head in evaluation mode, on the device of ``base`` (the processor without one).

    Args:
        directory: a head's directory.
        base: the model it will be used on; None: not checked.

    Raises:
        ModelError: a file is missing or broken, or the head is for another model.
    """
    settings = read_settings(directory)
    if base is not None:
        check_base(settings, directory, base.identity, base.model.config)
    path = directory / WEIGHTS
    try:
        head = filled_module(lambda: build_head(settings.head, settings.shape), load_file(path))
    except Exception as error:  # OSError, SafetensorError, RuntimeError: missing, truncated, other tensors
        raise ModelError(f"{path} cannot be loaded: {describe(error)}", fix="fit the head again") from error
    return head.to(base.device if base is not None else "cpu").eval().requires_grad_(False)


def check_base(settings: HeadSettings, directory: Path, identity: str, config: Any) -> None:
    """Whether the head in ``directory`` was fitted on the model of this identity and configuration.

    Raises:
        ModelError: naming what differs.
    """
    fitted_on, model = settings.base, BaseInfo.of("", identity)
    before, now = asdict(settings.shape), asdict(base_shape(config))
    sizes = [f"{name} {before[name]}, not {now[name]}" for name in before if before[name] != now[name]]
    if sizes:
        fault = f"a model of another shape ({sizes[0]})"
    elif fitted_on.digest[:DIGITS] != model.digest[:DIGITS]:
        fault = "a model of the same shape with other weights or another tokenizer"
    elif fitted_on.adapter[:DIGITS] != model.adapter[:DIGITS]:
        fault = "the model with another adapter, or without one"
    else:
        return
    name = fitted_on.name
    raise ModelError(
        f"the head {directory} was fitted on {name}: that is {fault}",
        fix=f"set model.name to {name} as it was then, or fit a head on this model: lmtools ats fit",
    )


def check_fits(run: Path, spec: ModelSpec) -> None:
    """Whether the heads of ``run`` were fitted on a model, by configuration and by the hashes of its files.

    Loads no weights.

    Raises:
        ModelError: a head is for another model.
        MachineError: the model is on the hub, where only its sizes can be compared: they agree, or the hub
            cannot be reached.
    """
    from transformers import AutoConfig

    remote, files = on_hub(spec.name), resolve_without_weights(spec)
    config = AutoConfig.from_pretrained(files.path, trust_remote_code=spec.trust_remote_code)
    for directory in find_heads(run):
        settings = read_settings(directory)
        # The weights of a model that is not here yet are taken for those that the head was fitted on.
        content = settings.base.identity if remote else identity(spec, files)
        check_base(settings, directory, content, config)
    if remote:
        raise MachineError(
            f"the sizes agree; the weights of {spec.name} are compared once they are here",
            fix=f"download {spec.name} and name its directory",
        )


# Baselines: `baselines.json`, and `vector.safetensors` where there is a vector scaling.

BASELINES, VECTOR_FILE = "baselines.json", "vector.safetensors"


@dataclass(frozen=True)
class Baselines:
    """``scalars``: method -> log multiplier of all tokens' logits; ``maps``: method -> confidence map."""

    scalars: dict[str, float] = field(default_factory=dict)
    maps: dict[str, ConfidenceMap] = field(default_factory=dict)
    vector: VectorScaling | None = None


class _File(Config):
    """``baselines.json``; ``vector`` is the SHA-256 of ``vector.safetensors``, or null."""

    format: Literal[1] = 1
    scalars: dict[str, Finite] = Field(default={})
    maps: dict[str, ConfidenceMap] = Field(default={})
    vector: str | None = None


def save_baselines(baselines: Baselines, directory: Path) -> None:
    """Write them into a run.

    Raises:
        MachineError: the directory cannot be written.
    """
    digest = baselines.vector.digest if baselines.vector is not None else None
    if baselines.vector is not None:
        save_vector(baselines.vector, directory / VECTOR_FILE)
    file = _File(scalars=baselines.scalars, maps=baselines.maps, vector=digest)
    write_json(directory / BASELINES, file.model_dump(mode="json"))


def load_baselines(directory: Path) -> Baselines:
    """Read them.

    Raises:
        ModelError: a file is missing or broken, or the two are not of one run.
    """
    path = directory / BASELINES
    try:
        file = _File.model_validate(read_json(path))
    except FileNotFoundError as error:
        raise ModelError(
            f"{directory} has no {BASELINES}: its fit did not finish",
            fix=f"finish it with --resume, or name {directory / 'head'} for the head alone",
        ) from error
    except MALFORMED as error:
        raise ModelError(f"{path} holds no baselines: {describe(error)}", fix=FIT_AGAIN) from error
    if file.vector is None:
        return Baselines(file.scalars, file.maps)
    vector = load_vector(directory / VECTOR_FILE)
    if vector.digest != file.vector:
        raise ModelError(f"{directory / VECTOR_FILE} is not the one that {path} tells of", fix=FIT_AGAIN)
    return Baselines(file.scalars, file.maps, vector)


# Every way to calibrate that a run has fitted, by its name in tables.

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


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods in the order of tables."""
    return tuple(sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)))


@dataclass(frozen=True)
class FittedMethods:
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

    def only(self, names: Sequence[str]) -> "FittedMethods":
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
            heads=_restricted(self.heads, names),
            scalars=_restricted(self.scalars, names),
            vector=self.vector if VECTOR in names else None,
            maps=_restricted(self.maps, names),
            digests=_restricted(self.digests, names),
        )


def load_methods(path: Path, base: LoadedModel | None = None) -> FittedMethods:
    """What was fitted.

    Args:
        path: a run of ``lmtools ats fit``, or a head's directory.
        base: the model they will be used on; None: not checked, on the processor.

    Raises:
        ModelError: a piece is missing or broken, or it is for another model.
        RunError: two heads have one name.
    """
    directories: dict[str, Path] = {}
    for directory in find_heads(path):
        name = read_settings(directory).method
        if name in directories:
            raise RunError(
                f"{directory} and {directories[name]} are both a head called {name!r}",
                fix=f"remove {directory}, or fit into another directory",
            )
        directories[name] = directory
    heads = {name: load_head(directory, base) for name, directory in directories.items()}
    digests = {name: head_digest(directory) for name, directory in directories.items()}
    alone = path in directories.values()
    baselines = Baselines() if alone else load_baselines(path)
    if baselines.vector is not None:
        _check_vocabulary(baselines.vector, next(iter(heads.values())), path)
    # Of a scalar that is a head and a baseline, the head counts.
    scalars = {name: value for name, value in baselines.scalars.items() if name not in heads}
    digests |= {name: f"log multiplier {value!r}" for name, value in scalars.items()}
    digests |= {name: sha256_text(map_.model_dump_json()) for name, map_ in baselines.maps.items()}
    if baselines.vector is not None:
        digests[VECTOR] = baselines.vector.digest
    return FittedMethods(heads, scalars, baselines.vector, baselines.maps, digests)


def _check_vocabulary(vector: VectorScaling, head: TemperatureHead, path: Path) -> None:
    if len(vector.weight) != head.shape.vocabulary:
        raise ModelError(
            f"the vector scaling in {path} is for {len(vector.weight)} vocabulary entries, "
            f"and the model has {head.shape.vocabulary}",
            fix=FIT_AGAIN,
        )


def _restricted(values: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    return {name: value for name, value in values.items() if name in names}
