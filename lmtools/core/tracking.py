"""Trackers: dashboards that a run's curves and final figures are also sent to, when ``--track`` names one.

A run keeps its figures in its own files in any case. trackio and TensorBoard write local files, wandb obeys
WANDB_MODE: nothing goes anywhere but where the tracker's own settings say.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from lmtools.core.errors import MachineError, MissingPackageError
from lmtools.core.progress import say

PACKAGES = {"trackio": "trackio", "wandb": "wandb", "tensorboard": "tensorboard"}
"""The trackers by name, and the package that each of them needs."""
FINAL = "metrics"
"""The part under which a run's final figures are sent."""


class Tracker(Protocol):
    """Where figures are sent. ``part`` is the loop they come from, and begins their names there."""

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        """Send the numbers in ``record``; ``step`` counts within its part, None where there are no steps."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class NoTracker:
    """What a run has where no tracker was named."""

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of a run when it is opened.

    ``key`` is the same whenever the run is resumed, so that its curves go on where they stopped.
    """

    name: str
    key: str
    directory: Path
    recipe: Mapping[str, Any]


class Numbers:
    """A tracker behind a filter: only finite numbers pass, and where it fails the run goes on without it."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker, self._failed = name, tracker, False

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        """Send what is a number; after a failure nothing more is sent."""
        numbers = {name: float(value) for name, value in record.items() if _is_number(value)}
        if numbers:
            self._attempt(lambda: self._tracker.log(part, numbers, step))

    def close(self) -> None:
        """Let the tracker finish."""
        self._attempt(self._tracker.close)

    def _attempt(self, act: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            say(f"note: {self._name} failed and gets no more figures ({error}); the run's own files have all")


@dataclass(frozen=True)
class Within:
    """A tracker as one part of a run sees it; closing it leaves the tracker open."""

    tracker: Tracker
    prefix: str

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        """Send under ``prefix``."""
        self.tracker.log(f"{self.prefix}/{part}", record, step)

    def close(self) -> None:
        """The whole run closes it."""


def check_tracker(name: str) -> None:
    """Whether a tracker's package is installed; imports nothing.

    Raises:
        MissingPackageError: it is not.
    """
    if find_spec(PACKAGES[name]) is None:
        raise MissingPackageError(
            f"--track {name}: the package {PACKAGES[name]} is not installed",
            fix=f"pip install {PACKAGES[name]}",
        )


def open_tracker(name: str, tracked: Tracked) -> Tracker:
    """The tracker of that name, which is imported only now.

    Raises:
        MissingPackageError: its package is not installed.
        MachineError: it could not begin.
    """
    check_tracker(name)
    try:
        opened: Tracker = getattr(import_module("lmtools.core.trackers"), f"open_{name}")(tracked)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise MachineError(f"--track {name}: {reason}", fix=FIXES[name]) from error
    return Numbers(name, opened)


FIXES = {
    "trackio": "check TRACKIO_DIR and TRACKIO_SPACE_ID, or leave --track out",
    "wandb": "log in with `wandb login`, set WANDB_MODE=offline, or leave --track out",
    "tensorboard": "pip install --upgrade tensorboard, or leave --track out",
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
