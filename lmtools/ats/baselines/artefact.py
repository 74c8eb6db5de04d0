"""Fitted baselines on disk: ``baselines.json``, and ``vector.safetensors`` where there is a vector scaling.

``baselines.json``: ``format``; ``scalars``, method -> log multiplier; ``maps``, method -> confidence map;
``vector``, the SHA-256 of ``vector.safetensors``, or null.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from lmtools.ats.baselines.maps import ConfidenceMap, Finite
from lmtools.ats.baselines.vector import VectorScaling, load_vector, save_vector
from lmtools.core.config import Config
from lmtools.core.errors import ModelError
from lmtools.core.files import write_json

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
