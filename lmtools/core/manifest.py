"""The manifest of a run: what ran, with which versions, on what machine, from which inputs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lmtools.core.errors import RunError
from lmtools.core.files import write_json
from lmtools.core.stored import describe
from lmtools.core.strings import secrets_masked

MANIFEST = "manifest.json"
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Manifest(BaseModel):
    """``manifest.json``. Times are UTC in ISO 8601, stages in seconds (summed over resumptions)."""

    model_config = ConfigDict(extra="ignore")

    command: list[str]
    seed: int
    inputs: dict[str, str]
    """Path or name of each input -> SHA-256 of its content."""
    versions: dict[str, str]
    machine: dict[str, Any]
    directory: str = ""
    """Where the run was when its recipe was written: what that names moves with it. Empty in older runs."""
    precision: dict[str, str] = {}
    """Name of each model's setting -> ``DTYPE: why``."""
    started: str
    resumed: list[str] = []
    finished: str | None = None
    stages: dict[str, Seconds] = {}
    processor: dict[str, Seconds] = {}
    """The same stages in seconds of processor time, over all cores."""

    @field_validator("command", "inputs", "precision")
    @classmethod
    def _without_secrets(cls, value: Any) -> Any:
        return secrets_masked(value)

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        write_json(path, self.model_dump())


def read_manifest(path: Path) -> Manifest:
    """The manifest in ``path``.

    Raises:
        RunError: the file is not a manifest.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(
            f"{path}: not a run's manifest: {describe(error)}", fix="choose another directory with --out DIR"
        ) from error


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
