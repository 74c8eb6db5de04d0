"""What a person sees while a run works: lines and a progress bar on stderr, never a word on stdout.

On a terminal a bar with rate and remaining time; in a pipe or a log a line at the start, one at the end, and
at most one every 30 seconds between. Under several processes only the first one speaks.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

QUIET_SECONDS = 30.0


class Progress(Protocol):
    """Something that counts finished units of work."""

    def advance(self, n: int = 1) -> None:
        """``n`` more units are done."""
        ...


def first_process() -> bool:
    """Whether this is the only process, or the first of those that ``accelerate launch`` started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """One line for a person, on stderr."""
    if first_process():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(total: int | None, label: str) -> Iterator[Progress]:
    """Show how far a loop is: ``with progress(len(work), "exploring") as bar: ... bar.advance()``.

    Args:
        total: units of work to come; None where nobody knows.
        label: what is being done, in a word or three.
    """
    if not first_process():
        yield _Silent()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI"):
        with _bar(total, label) as bar:
            yield bar
    else:
        lines = _Lines(total, label)
        yield lines
        lines.close()


class _Silent:
    def advance(self, n: int = 1) -> None:
        """Nothing to show."""


class _Lines:
    """Progress for a log: few lines, each of which stands alone."""

    def __init__(self, total: int | None, label: str) -> None:
        self._total, self._label = total, label
        self._done = 0
        self._start = self._spoken = time.monotonic()
        say(f"{label}: started" if total is None else f"{label}: {total} to do")

    def advance(self, n: int = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._spoken >= QUIET_SECONDS:
            self._spoken = now
            say(f"{self._label}: {describe(self._done, self._total, now - self._start)}")

    def close(self) -> None:
        say(f"{self._label}: {self._done} done in {duration(time.monotonic() - self._start)}")


def describe(done: int, total: int | None, seconds: float) -> str:
    """How far, how fast and how long yet: ``120/600 (2.0/s, 4 min left)``."""
    rate = done / seconds if seconds > 0 else 0.0
    if total is None:
        return f"{done} ({rate:.3g}/s)"
    left = f", {duration((total - done) / rate)} left" if rate > 0 else ""
    return f"{done}/{total} ({rate:.3g}/s{left})"


def duration(seconds: float) -> str:
    """Seconds in words: ``8 s``, ``4 min 10 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")


@contextmanager
def _bar(total: int | None, label: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich:
        task = rich.add_task(label, total=total, rate="")

        class Bar:
            def advance(self, n: int = 1) -> None:
                speed = rich.tasks[0].finished_speed or rich.tasks[0].speed
                rich.update(task, advance=n, rate=f"{speed:.3g}/s" if speed else "")

        yield Bar()
