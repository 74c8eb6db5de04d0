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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load_file, save

from lmtools import __version__
from lmtools.ats.head_config import BaseShape, HeadConfig, base_shape
from lmtools.ats.heads import TemperatureHead, build_head
from lmtools.core.errors import ModelError
from lmtools.core.files import atomic_writer, write_json
from lmtools.models.fingerprint import fingerprint
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
