"""A fitted head on disk: ``head.safetensors`` and ``head.json``.

Tensors by kind, all float32, stored as (out, in):

- transformer: ``layer.self_attn.{q,k,v,o}_proj.weight``, ``layer.mlp.{gate,up,down}_proj.weight``,
  ``layer.input_layernorm.weight``, ``layer.post_attention_layernorm.weight`` (a Llama decoder layer without
  biases, RoPE base 10000), ``output.weight`` (1, hidden) and ``output.bias`` (1,), and ``projection.weight``
  (hidden, features) where the joined features are not as wide as the model
- mlp: ``gate_proj.weight``, ``up_proj.weight``, ``output.weight``, ``output.bias``
- linear: ``output.weight``, ``output.bias``
- scalar: ``log_multiplier`` (1,)

``head.json``: ``format``, ``head`` (``HeadConfig``), ``shape`` (``BaseShape``), ``base`` (``BaseInfo``),
``loss`` (the settings it was fitted with) and ``lmtools`` (the version that wrote it).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from safetensors.torch import load_file, save

from lmtools import __version__
from lmtools.ats.baselines import ConfidenceMap, Finite, VectorScaling, load_vector, save_vector
from lmtools.ats.heads import TemperatureHead, build_head
from lmtools.ats.recipe import BaseShape, HeadConfig, base_shape
from lmtools.core.config import Config
from lmtools.core.errors import ModelError
from lmtools.core.files import atomic_writer, write_json
from lmtools.models.files import fingerprint
from lmtools.models.load import LoadedModel

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


@dataclass(frozen=True)
class HeadSettings:
    """What ``head.json`` says."""

    head: HeadConfig
    shape: BaseShape
    base: BaseInfo
    loss: Mapping[str, Any]


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
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise ModelError(
                f"{path}: format {value['format']}; this version reads {FORMAT}", fix="fit the head again"
            )
        return HeadSettings(
            head=HeadConfig.model_validate(value["head"]),
            shape=BaseShape(**value["shape"]),
            base=BaseInfo(**value["base"]),
            loss=value["loss"],
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is no head's settings: {reason}", fix="fit the head again") from error


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
    head = build_head(settings.head, settings.shape)
    path = directory / WEIGHTS
    try:
        head.load_state_dict(load_file(path), strict=True)
    except Exception as error:  # OSError, SafetensorError, RuntimeError: missing, truncated, other tensors
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} cannot be loaded: {reason}", fix="fit the head again") from error
    return head.to(base.device if base is not None else "cpu").eval().requires_grad_(False)


def check_base(settings: HeadSettings, directory: Path, identity: str, config: Any) -> None:
    """Whether the head in ``directory`` was fitted on the model of this identity and configuration.

    Raises:
        ModelError: naming what differs.
    """
    mine, theirs = settings.base, BaseInfo.of("", identity)
    sizes, found = asdict(settings.shape), asdict(base_shape(config))
    wrong = [f"{name} {sizes[name]}, not {found[name]}" for name in sizes if sizes[name] != found[name]]
    if wrong:
        fault = f"a model of another shape ({wrong[0]})"
    elif mine.digest[:DIGITS] != theirs.digest[:DIGITS]:
        fault = "a model of the same shape with other weights or another tokenizer"
    elif mine.adapter[:DIGITS] != theirs.adapter[:DIGITS]:
        fault = "the model with another adapter, or without one"
    else:
        return
    raise ModelError(
        f"the head {directory} was fitted on {mine.name}: that is {fault}",
        fix=f"set model.name to {mine.name} as it was then, or fit a head on this model: lmtools ats fit",
    )


# Fitted baselines on disk: ``baselines.json``, and ``vector.safetensors`` where there is a vector scaling.
#
# ``baselines.json``: ``format``; ``scalars``, method -> log multiplier; ``maps``, method -> confidence map;
# ``vector``, the SHA-256 of ``vector.safetensors``, or null.

BASELINES, VECTOR_FILE = "baselines.json", "vector.safetensors"
FIT_AGAIN = "fit again: lmtools ats fit"


@dataclass(frozen=True)
class Baselines:
    """``scalars``: method -> log multiplier of all tokens' logits; ``maps``: method -> confidence map."""

    scalars: dict[str, float] = field(default_factory=dict)
    maps: dict[str, ConfidenceMap] = field(default_factory=dict)
    vector: VectorScaling | None = None


class _File(Config):
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
        file = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ModelError(
            f"{directory} has no {BASELINES}: its fit did not finish",
            fix=f"finish it with --resume, or name {directory / 'head'} for the head alone",
        ) from error
    except (OSError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} holds no baselines: {reason}", fix=FIT_AGAIN) from error
    if file.vector is None:
        return Baselines(file.scalars, file.maps)
    vector = load_vector(directory / VECTOR_FILE)
    if vector.digest != file.vector:
        raise ModelError(f"{directory / VECTOR_FILE} is not the one that {path} tells of", fix=FIT_AGAIN)
    return Baselines(file.scalars, file.maps, vector)
