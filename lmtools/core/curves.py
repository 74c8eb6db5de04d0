"""``training.jsonl``: the curves of a run's training loops, one record for every step or epoch.

    {"part": "linear", "step": 40, "epoch": 2, "loss": 1.93, "learning_rate": 1e-4, "validation_loss": 1.9}

``part`` names what is trained, ``step`` counts its optimiser steps from 1, losses are means, in nats unless
the loop says otherwise. ``learning_rate`` and ``validation_loss`` are left out where there is none. A loop
that a resumed run goes through once more adds nothing that is there.
"""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from lmtools.core.files import cannot_write

FILE = "training.jsonl"


@dataclass(frozen=True)
class Point:
    """One point of a curve: after ``step`` optimiser steps, in or at the end of ``epoch``, both from 1."""

    step: int
    epoch: int
    loss: float
    learning_rate: float | None = None
    validation_loss: float | None = None

    def record(self) -> dict[str, Any]:
        """What is known of it, by name; what is not finite is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None and isfinite(value)}


Told = Callable[[Point], None]
"""What a training loop tells its progress to."""


Watch = Callable[[str], Told]
"""From the name of a part to what its training loop tells its progress to."""


def untold(point: Point) -> None:
    """For a loop that nobody watches."""


def unwatched(part: str) -> Told:
    """For loops that nobody watches."""
    return untold


class Curves:
    """The file, open for appending.

    Args:
        path: made when the first point comes; a torn last line is cut off.

    Raises:
        MachineError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: set[tuple[str, int]] = set()
        self._file: int | None = None
        try:
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))
        except OSError as error:
            raise cannot_write(path, error) from error
        for record in read_curves(path):
            self._known.add((str(record.get("part")), int(record.get("step", 0))))

    def add(self, part: str, point: Point) -> bool:
        """Append a point; False where that step of that part is there already.

        Raises:
            MachineError: the disk is full or gone.
        """
        if (part, point.step) in self._known:
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
        self._known.add((part, point.step))
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The records of a ``training.jsonl``, in order; none where there is no file, and no broken ones."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
