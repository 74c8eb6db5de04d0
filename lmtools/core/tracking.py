"""The curves of a run: into its own ``training.jsonl``, and to the tracker that ``--track`` names, if any.

A training loop calls a ``StepCallback`` with a ``Point`` after every step or epoch. That of ``Run.curve``
appends the point to the file and sends it to the run's tracker, which also gets the final figures.
trackio and TensorBoard write local files, wandb obeys WANDB_MODE: nothing goes anywhere but where the
tracker's own settings say.
"""

import errno
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from lmtools.core.errors import MachineError, MissingPackageError, RunError
from lmtools.core.files import cannot_write
from lmtools.core.progress import say
from lmtools.core.stored import MALFORMED, describe, parse_json

# ``training.jsonl``: the curves of a run's training loops, one record for every step or epoch.
#
#     {"part": "linear", "step": 40, "epoch": 2, "loss": 1.93, "learning_rate": 1e-4, "validation_loss": 1.9}
#
# ``part`` names what is trained, ``step`` counts its optimiser steps from 1, losses are means, in nats
# unless the loop says otherwise. ``learning_rate`` and ``validation_loss`` are left out where there is
# none. A loop that a resumed run goes through once more adds nothing that is there.

TRAINING_FILE = "training.jsonl"


@dataclass(frozen=True)
class Point:
    """One point of a curve: after ``step`` optimiser steps, in or at the end of ``epoch``, both from 1."""

    step: int
    epoch: int
    loss: float
    learning_rate: float | None = None
    validation_loss: float | None = None

    def record(self) -> dict[str, Any]:
        """The values by name, without those that are absent or not finite."""
        return {
            name: value for name, value in asdict(self).items() if value is not None and math.isfinite(value)
        }


StepCallback = Callable[[Point], None]
"""Called by a training loop with each point of its curve."""
CurveCallback = Callable[[str], StepCallback]
"""From the name of what is trained to the callback of its training loop."""


def no_callback(point: Point) -> None:
    """The callback of a loop whose curve is not kept."""


def no_curve(part: str) -> StepCallback:
    """The callbacks of loops whose curves are not kept."""
    return no_callback


class Curves:
    """The file, open for appending.

    Args:
        path: made when the first point comes; a torn last line is cut off.

    Raises:
        MachineError: the file cannot be read.
        RunError: a line of it is no point.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: set[tuple[str, int]] = set()
        self._file: int | None = None
        try:
            data = path.read_bytes() if path.exists() else b""
            end = data.rfind(b"\n") + 1  # what follows the last line break was torn off by a kill
            if end < len(data):
                os.truncate(path, end)
        except OSError as error:
            raise cannot_write(path, error) from error
        for record in read_curves(path):
            self._seen.add((record["part"], record["step"]))

    def add(self, part: str, point: Point) -> bool:
        """Append a point; False where that step of that part is there already.

        Raises:
            MachineError: the disk is full or gone.
        """
        if (part, point.step) in self._seen:
            return False
        line = json.dumps({"part": part, **point.record()}).encode("ascii") + b"\n"
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._seen.add((part, point.step))
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The records of a ``training.jsonl``, in order; none where there is no file, nor of a torn last line.

    Raises:
        RunError: a line is none.
    """
    records = []
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else ()
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line, finite=False)
            figures = {name: value for name, value in record.items() if name != "part"}
            if not isinstance(record["part"], str) or not isinstance(figures["step"], int):
                raise TypeError("not a part and a step")
            if wrong := [name for name, value in figures.items() if not isinstance(value, int | float)]:
                raise TypeError(f"{wrong[0]}: a number is expected")
        except MALFORMED as error:
            raise RunError(
                f"{path}:{number}: no point of a curve: {describe(error)}", fix=f"delete line {number}"
            ) from error
        records.append(record)
    return records


# Trackers: dashboards that a run's curves and final figures are also sent to.

PACKAGES = {"trackio": "trackio", "wandb": "wandb", "tensorboard": "tensorboard"}
"""The trackers by name, and the package that each of them needs."""
FIXES = {
    "trackio": "check TRACKIO_DIR and TRACKIO_SPACE_ID, or leave --track out",
    "wandb": "log in with `wandb login`, set WANDB_MODE=offline, or leave --track out",
    "tensorboard": "pip install --upgrade tensorboard, or leave --track out",
}
"""What helps where one of them cannot begin."""
PROJECT = "lmtools"
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
class TrackedRun:
    """A run as a tracker gets it when it is opened.

    ``key`` is the same whenever the run is resumed, so that its curves go on where they stopped.
    """

    name: str
    key: str
    directory: Path
    recipe: Mapping[str, Any]


class FilteredTracker:
    """A tracker that gets finite numbers only, and without which the run goes on where it fails."""

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
class PartTracker:
    """A tracker as one part of a run sees it: it sends under ``prefix``, and closing it closes nothing."""

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


def open_tracker(name: str, tracked: TrackedRun) -> Tracker:
    """The tracker of that name, which is imported only now.

    Raises:
        MissingPackageError: its package is not installed.
        MachineError: it could not begin.
    """
    check_tracker(name)
    try:
        opened: Tracker = getattr(import_module("lmtools.core.tracking"), f"open_{name}")(tracked)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise MachineError(f"--track {name}: {reason}", fix=FIXES[name]) from error
    return FilteredTracker(name, opened)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# The trackers themselves, each a thin form of its package's own; imported only when one is named.


def open_trackio(tracked: TrackedRun) -> Tracker:
    """Trackio: a local database, shown by `trackio show --project lmtools`."""
    import trackio

    with redirect_stdout(sys.stderr):  # stdout is the command's
        run = trackio.init(
            project=PROJECT,
            name=f"{tracked.name}-{tracked.key[:8]}",
            config=dict(tracked.recipe),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
    return _Trackio(run)


class _Trackio:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        self._run.log(_named(part, record), step=step)

    def close(self) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            trackio.finish()  # not the run's own: that is called once more at the end of the process


def open_wandb(tracked: TrackedRun) -> Tracker:
    """Weights & Biases, as the user's settings and environment (WANDB_MODE, WANDB_PROJECT ...) have it."""
    import wandb

    return _Wandb(
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=tracked.name,
            id=tracked.key,
            resume="allow",
            config=dict(tracked.recipe),
            dir=str(tracked.directory),
            # Neither code, nor git, nor what is printed; the rest is as the user's own settings have it.
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True, save_code=False),
        )
    )


class _Wandb:
    """Steps are numbers of their own, since several parts of a run each count from 1."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._parts: set[str] = set()

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        if step is None:
            self._run.summary.update(_named(part, record))
            return
        if part not in self._parts:
            self._parts.add(part)
            self._run.define_metric(f"{part}/*", step_metric=f"{part}/step")
        self._run.log(_named(part, {**record, "step": step}))

    def close(self) -> None:
        self._run.finish()


def open_tensorboard(tracked: TrackedRun) -> Tracker:
    """TensorBoard: event files in the run, shown by `tensorboard --logdir RUN`."""
    from torch.utils.tensorboard import SummaryWriter

    return _TensorBoard(SummaryWriter(str(tracked.directory / "tensorboard")))


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in _named(part, record).items():
            self._writer.add_scalar(name, value, step or 0)

    def close(self) -> None:
        self._writer.close()


def _named(part: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's figures by their full names."""
    return {f"{part}/{name}": value for name, value in record.items()}
