"""What a person sees while a run works: lines and a progress bar on stderr, never a word on stdout.

On a terminal a bar with rate and remaining time; in a pipe or a log a line at the start, one at the end, and
one every ten seconds between, also while a single batch takes longer than that. Under several processes only
the first one speaks. The second half estimates how long a stage will take before it begins.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from lmtools.core.strings import printable, without_secrets

QUIET_SECONDS = 10.0
"""The longest time without a line while something works."""


class Progress(Protocol):
    """Something that counts finished units of work."""

    def advance(self, n: int = 1) -> None:
        """``n`` more units are done."""
        ...


def first_process() -> bool:
    """Whether this is the only process, or the first of those that ``accelerate launch`` started."""
    return os.environ.get("RANK", "0") == "0"


class _Pulse:
    """Prints a line of the innermost task that is open where nothing was printed for ``QUIET_SECONDS``.

    One thread watches from the first task that is opened to the last one that ends; ``lock`` keeps its lines
    and those of ``advance`` apart.
    """

    def __init__(self) -> None:
        self.spoken = time.monotonic()
        self.lock = threading.RLock()
        self._open: list[_Task] = []
        self._end = threading.Event()

    @contextmanager
    def during(self, task: "_Task") -> Iterator[None]:
        """Watch over ``task`` inside the block; tasks may be nested."""
        self._open.append(task)
        if len(self._open) == 1:
            self._end = threading.Event()
            threading.Thread(target=self._watch, args=(self._end,), daemon=True).start()
        try:
            yield
        finally:
            with self.lock:
                self._open.remove(task)
                if not self._open:
                    self._end.set()

    def due(self) -> bool:
        """Whether it is time for a word."""
        return time.monotonic() - self.spoken >= 0.95 * QUIET_SECONDS

    def _watch(self, end: threading.Event) -> None:
        while not end.wait(QUIET_SECONDS / 20):
            with self.lock:
                line = self._open[-1].line() if self._open and self.due() else None
                if line is not None:
                    say(line)


class _Task(Protocol):
    def line(self) -> str | None:
        """How far the task is; None where a bar shows it."""
        ...


_pulse = _Pulse()


def say(text: str) -> None:
    """One line for a person, on stderr; lost where nobody can read it: a run goes on without readers."""
    if first_process():
        _pulse.spoken = time.monotonic()
        with suppress(OSError):
            print(printable(without_secrets(text)), file=sys.stderr, flush=True)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Say now and then that something is still at work that has no bar, or not all the time."""
    with _pulse.during(_Elapsed(label)):
        yield


class _Elapsed:
    """A task of which only the time it has taken is known."""

    def __init__(self, label: str) -> None:
        self._label, self._start = label, time.monotonic()

    def line(self) -> str:
        return f"{self._label}: {duration(time.monotonic() - self._start)} so far"


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
        with _bar(total, label) as bar, _pulse.during(_OnScreen()):
            yield bar
    else:
        lines = _Lines(total, label)
        with _pulse.during(lines):
            yield lines
        lines.close()


class _Silent:
    def advance(self, n: int = 1) -> None:
        """Nothing to show."""


class _OnScreen:
    def line(self) -> None:
        """The bar itself shows how far it is."""


class _Lines:
    """Progress for a log: few lines, each of which stands alone."""

    def __init__(self, total: int | None, label: str) -> None:
        self._total, self._label = total, label
        self._finished = 0
        self._start = time.monotonic()
        say(f"{label}: started" if total is None else f"{label}: {total} to do")

    def advance(self, n: int = 1) -> None:
        with _pulse.lock:
            self._finished += n
            if _pulse.due():
                say(self.line())

    def line(self) -> str:
        seconds = time.monotonic() - self._start
        if not self._finished:
            where = f"on the first of {self._total}" if self._total else "begun"
            return f"{self._label}: {where}, {duration(seconds)} so far"
        return f"{self._label}: {describe(self._finished, self._total, seconds)}"

    def close(self) -> None:
        say(f"{self._label}: {self._finished} done in {duration(time.monotonic() - self._start)}")


def describe(finished: int, total: int | None, seconds: float) -> str:
    """How far, how fast and how long yet: ``120/600 (2.0/s, 4 min left)``."""
    rate = finished / seconds if seconds > 0 else 0.0
    if total is None:
        return f"{finished} ({rate:.3g}/s)"
    left = f", {duration((total - finished) / rate)} left" if rate > 0 else ""
    return f"{finished}/{total} ({rate:.3g}/s{left})"


def duration(seconds: float) -> str:
    """Seconds in words: ``8 s``, ``4 min 10 s``, ``2 h 5 min``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min" + (f" {rounded % 60} s" if rounded % 60 else "")
    return f"{rounded // 3600} h" + (f" {rounded % 3600 // 60} min" if rounded % 3600 >= 60 else "")


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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich:
        task = rich.add_task(printable(label), total=total, rate="")

        class Bar:
            def advance(self, n: int = 1) -> None:
                speed = rich.tasks[0].finished_speed or rich.tasks[0].speed
                rich.update(task, advance=n, rate=f"{speed:.3g}/s" if speed else "")

        yield Bar()


# How long a stage will take: the tokens that a model has to read, write and train on, divided by its pace.
#
# A stage gives its ``Work``. Where a command has timed the model (``lmtools.generation.pace``) and runs
# inside ``at_pace``, ``Run.stage`` says beforehand how long it will take.

CHARACTERS_PER_TOKEN = 4
"""About, in text that people write."""


@dataclass(frozen=True)
class Work:
    """Tokens to go through the model: read only, written one by one, or trained on."""

    read: float = 0.0
    written: float = 0.0
    trained: float = 0.0

    def __mul__(self, times: float) -> "Work":
        return Work(self.read * times, self.written * times, self.trained * times)

    def __add__(self, other: "Work") -> "Work":
        return Work(self.read + other.read, self.written + other.written, self.trained + other.trained)


@dataclass(frozen=True)
class Pace:
    """Tokens a second of one model on one machine."""

    read: float
    written: float
    trained: float

    def seconds(self, work: Work) -> float:
        """What work takes.

        >>> Pace(read=200, written=50, trained=100).seconds(Work(read=1000, trained=300))
        8.0
        """
        return work.read / self.read + work.written / self.written + work.trained / self.trained


_current_pace: list[Pace] = []


@contextmanager
def at_pace(pace: Pace | None) -> Iterator[None]:
    """Inside, stages say beforehand how long they will take at this pace; None: they do not."""
    _current_pace[:] = [] if pace is None else [pace]
    try:
        yield
    finally:
        _current_pace.clear()


def expected_seconds(work: Callable[[], Work] | None) -> float | None:
    """Seconds that work will take; None outside ``at_pace``, or where the work cannot be estimated."""
    return _current_pace[0].seconds(work()) if _current_pace and work is not None else None


def tokens_in(texts: Sequence[str]) -> float:
    """About how many tokens the texts have, without a tokenizer.

    >>> tokens_in(["Which river?", "The Seine."])
    5.5
    """
    return sum(map(len, texts)) / CHARACTERS_PER_TOKEN


def tokens_after_prefix(texts: Sequence[str]) -> float:
    """The same without what all of them begin with, which is read once.

    >>> tokens_after_prefix(["Question: which river?", "Question: who?"])
    6.0
    """
    first, last = min(texts, default=""), max(texts, default="")
    shared = 0
    while shared < len(first) and first[shared] == last[shared : shared + 1]:
        shared += 1
    return (shared + sum(len(text) - shared for text in texts)) / CHARACTERS_PER_TOKEN
