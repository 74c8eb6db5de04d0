"""A run directory: who may write it, what it was made from, and how far it has come.

``Run`` is the open directory. After it stand its rules: when a run is continued and when it is refused, which
directory is taken where none is named, and what is wrong with one that is not the run a command needs.

    recipe.yaml     the resolved recipe         manifest.json   command, versions, seed, input hashes, timings
    journal.jsonl   finished units of work      metrics.json    the results; their presence ends the run
    training.jsonl  the curves of what was trained

A run killed at any instant is continued by the same command with ``--resume``.
"""

import fcntl
import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from lmtools.core.config import Config
from lmtools.core.environment import machine, versions
from lmtools.core.errors import RunError
from lmtools.core.files import absolute, cannot_write, moved_along, write_text
from lmtools.core.journal import Journal
from lmtools.core.manifest import MANIFEST, Manifest, now, read_manifest
from lmtools.core.progress import Work, duration, expected_seconds, first_process, say, working
from lmtools.core.recipe import dump_recipe, read_recipe
from lmtools.core.recipe_yaml import parse_yaml
from lmtools.core.results import Difference, Results, Row
from lmtools.core.strings import near_path
from lmtools.core.tracking import FINAL, TRAINING_FILE, Curves, NoTracker, Point, StepCallback, Tracker

RECIPE, METRICS, LOCK = "recipe.yaml", "metrics.json", ".lock"


class Run:
    """An open run. Use ``Run.create``; close it, or use it as a context manager, to let go of the lock.

    Of several processes (``accelerate launch``) only the first writes; in the others every writing method
    does nothing, and their journals live in memory.
    """

    begun: ClassVar[bool] = False
    """Whether this process has begun a run, which can then be resumed."""

    def __init__(self, directory: Path, manifest: Manifest, lock: int | None) -> None:
        self.directory = directory
        self.manifest = manifest
        self._lock = lock
        self._journals: dict[str, Journal] = {}
        self._curves: Curves | None = None
        self.tracker: Tracker = NoTracker()
        """Where curves and final figures also go; closed with the run."""

    @classmethod
    def create(
        cls,
        directory: Path,
        config: Config,
        *,
        command: Sequence[str],
        inputs: Mapping[str, str],
        resume: bool,
        seed: int,
        precision: Mapping[str, str] | None = None,
    ) -> "Run":
        """Start a run in ``directory``, or continue the one that is there.

        Args:
            command: the command line, program name first.
            inputs: each input's path or name -> SHA-256 of its content.
            precision: name of each model's setting -> ``DTYPE: why``.

        Raises:
            RunError: the directory holds something else, a run that was not to be resumed, a run of another
                recipe or of other inputs, or a run that another process is writing.
            MachineError: the directory cannot be written to.
        """
        fresh = Manifest(
            command=list(command),
            seed=seed,
            inputs=dict(inputs),
            versions=versions(),
            machine=machine(),
            precision=dict(precision or {}),
            directory=absolute(str(directory)),
            started=now(),
        )
        if not first_process():
            return cls(directory, fresh, None)
        if directory.is_dir():
            has_run(directory)  # so that not even a lock is left in a folder of something else
        lock = _lock(directory)
        try:
            # Asked again under the lock: another process may have begun a run since.
            if has_run(directory):
                manifest = resumed_manifest(directory, fresh, dump_recipe(config), resume)
            else:
                manifest = fresh
                write_text(directory / RECIPE, dump_recipe(config))
            # What atomic writers of a killed process left behind.
            for torn in list(directory.rglob(".*.part")):
                if torn.is_dir():
                    shutil.rmtree(torn, ignore_errors=True)
                else:
                    torn.unlink(missing_ok=True)
            manifest.write(directory / MANIFEST)
            cls.begun = True
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, manifest, lock)

    def path(self, *parts: str) -> Path:
        """A file or folder of the run; not created."""
        return self.directory.joinpath(*parts)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes the run."""
        return self._lock is not None

    def journal(self, name: str = "journal.jsonl") -> Journal:
        """The run's journal; the same object every time, closed with the run."""
        if name not in self._journals:
            self._journals[name] = Journal(self.path(name), writable=self.writes)
        return self._journals[name]

    def curve(self, part: str) -> StepCallback:
        """The callback of the training of ``part``: its points go to ``training.jsonl`` and the tracker."""

        def log_point(point: Point) -> None:
            if not self.writes:
                return
            if self._curves is None:
                self._curves = Curves(self.path(TRAINING_FILE))
            if self._curves.add(part, point):
                self.tracker.log(part, point.record(), point.step)

        return log_point

    @contextmanager
    def stage(self, name: str, work: Callable[[], Work] | None = None) -> Iterator[None]:
        """Time a part of the run: prints its name and how long it took, and adds its seconds to the manifest,
        also where it fails.

        Args:
            work: estimates what the language model will do; called inside ``at_pace`` only. ``Work`` itself
                for a stage that does without the model.
        """
        seconds = expected_seconds(work)
        say(f"[{name}]" if seconds is None else f"[{name}] {_about(seconds)} on this machine")
        start, computed = time.monotonic(), _processor_seconds()
        try:
            with working(f"[{name}]"):
                yield
        finally:
            took = time.monotonic() - start
            self._update(
                stages=_added(self.manifest.stages, name, took),
                processor=_added(self.manifest.processor, name, _processor_seconds() - computed),
            )
        say(f"[{name}] {duration(took)}")

    def results(self, recipe: str, rows: Sequence[Row], differences: Sequence[Difference] = ()) -> Results:
        """What was measured, with this run's command, seed, versions and machine."""
        return Results(
            recipe=recipe,
            command=shlex.join(self.manifest.command),
            seed=self.manifest.seed,
            versions=self.manifest.versions,
            machine={**self.manifest.machine, **self._precision()},
            rows=tuple(rows),
            differences=tuple(differences),
        )

    def _precision(self) -> dict[str, Any]:
        """The precision of each model, without the reasons; nothing where no model computes."""
        kinds = {name: why.partition(":")[0] for name, why in self.manifest.precision.items()}
        return {"precision": kinds} if kinds else {}

    def finish(self, results: Results) -> None:
        """Write ``metrics.json`` and mark the run as finished."""
        if self.writes:
            results.write(self.path(METRICS))
        if self.manifest.finished is None:
            self.tracker.log(FINAL, results.values())
        self._update(finished=now())

    def _update(self, **changes: Any) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        if self.writes:
            self.manifest.write(self.path(MANIFEST))

    def close(self) -> None:
        """Close the journals and let another process have the directory."""
        for journal in self._journals.values():
            journal.close()
        if self._curves is not None:
            self._curves.close()
        self.tracker.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _about(seconds: float) -> str:
    return f"about {duration(round(seconds, -1))}" if seconds >= 10 else "a few seconds"


def _added(seconds: Mapping[str, float], stage: str, more: float) -> dict[str, float]:
    return {**seconds, stage: round(seconds.get(stage, 0.0) + more, 3)}


def _processor_seconds() -> float:
    """What this process and its children that have ended used of all cores, in seconds."""
    return sum(os.times()[:4])


def _lock(directory: Path) -> int:
    """Take the directory for this process; the lock goes with the process, however it ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(directory, error) from error
    try:
        # Not flock: that would be held on by worker processes that outlive a kill of this one.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise RunError(
            f"{directory}: another process is writing this run",
            fix="wait for it, or choose another directory with --out DIR",
        ) from error
    return lock


# Whether a run may be started or continued in a directory.


def has_run(directory: Path) -> bool:
    """Whether the folder holds a run; not so where nothing, or next to nothing, was written yet.

    Raises:
        RunError: it holds something else.
    """
    if (directory / MANIFEST).exists():
        return True
    if _barely_started(directory):
        return False
    raise RunError(
        f"{directory}: is not empty and holds no run", fix="choose another directory with --out DIR"
    )


def _barely_started(directory: Path) -> bool:
    """Whether a run was killed here before it had written its manifest."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else {"?"}
    return all(name in (LOCK, RECIPE) or name.endswith(".part") for name in names)


def resumed_manifest(directory: Path, fresh: Manifest, recipe: str, resume: bool) -> Manifest:
    """The manifest of the run in ``directory``, marked as resumed, if it is the same run as ``fresh``.

    Raises:
        RunError: it was not to be resumed, or was started with another recipe, other inputs or another seed.
    """
    before = read_manifest(directory / MANIFEST)
    if not resume:
        state = "a finished" if before.finished else "an unfinished"
        raise RunError(
            f"{directory}: holds {state} run of `{shlex.join(before.command)}`",
            fix="continue it with --resume, or choose another directory with --out DIR",
        )
    changes = _changes(directory, before, recipe, fresh.inputs, fresh.seed)
    if changes:
        raise RunError(
            f"{directory}: cannot be resumed, since it was started differently:\n"
            + "\n".join(f"  {change}" for change in changes),
            fix=_mend(directory, before, recipe, fresh.inputs, changes),
        )
    for name, version in fresh.versions.items():
        if before.versions.get(name) != version:
            say(f"note: {name} was {before.versions.get(name, 'absent')} when this run started, is {version}")
    precision = before.precision or fresh.precision
    return before.model_copy(update={"resumed": [*before.resumed, now()], "precision": precision})


def _mend(
    directory: Path, before: Manifest, recipe: str, inputs: Mapping[str, str], changes: Sequence[str]
) -> str:
    """How to go on. Where only precisions differ (`auto` is another one on this machine), with its own."""
    settings = _setting_changes(directory, before, recipe, inputs)
    if len(settings) == len(changes) and all(key.endswith(".dtype") for key in settings):
        named = " ".join(f"--set {key}={before}" for key, (before, _) in settings.items())
        return f"go on at its own precision: {named}"
    return "start a new run with another --out DIR, or go back to what it was started with"


def started_with(directory: Path, recipe: str, inputs: Mapping[str, str], seed: int) -> bool:
    """Whether the run in the folder began with this recipe, these inputs and this seed, so that it can go on;
    also true where nothing has been written yet that says otherwise."""
    if not (directory / MANIFEST).exists():
        return True
    return not _changes(directory, read_manifest(directory / MANIFEST), recipe, inputs, seed)


def _changes(
    directory: Path, before: Manifest, recipe: str, inputs: Mapping[str, str], seed: int
) -> list[str]:
    settings = _setting_changes(directory, before, recipe, inputs).items()
    changes = [f"{key}: was {was}, is {now_is}" for key, (was, now_is) in settings]
    changes += _input_changes(before.inputs, inputs)
    return changes + ([f"seed: was {before.seed}, is {seed}"] if before.seed != seed else [])


def _setting_changes(
    directory: Path, manifest: Manifest, recipe: str, inputs: Mapping[str, str]
) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its value before and now, of every setting that differs.

    Two names of one file or of one content do not differ, nor does what moved with the run.
    """
    path, here = directory / RECIPE, absolute(str(directory))
    before = _leaves(parse_yaml(read_recipe(path), str(path)) if path.exists() else {})
    after = _leaves(parse_yaml(recipe, "recipe"))
    values = {
        key: (before.get(key, "absent"), after.get(key, "absent"))
        for key in sorted(before.keys() | after.keys())
    }

    def alike(was: Any, now_is: Any) -> bool:
        if was == now_is or not isinstance(was, str) or not isinstance(now_is, str):
            return bool(was == now_is)
        if os.path.isabs(was) and moved_along(was, manifest.directory or here, here) == now_is:
            return True
        digest = manifest.inputs.get(was)
        return _same_file(was, now_is) or (digest is not None and digest == inputs.get(now_is))

    return {key: (was, now_is) for key, (was, now_is) in values.items() if not alike(was, now_is)}


def _same_file(a: str, b: str) -> bool:
    """Whether two texts are the path of one and the same file or folder."""
    try:
        return os.path.samefile(absolute(a), absolute(b))
    except (OSError, ValueError):  # nothing there, or no path at all
        return False


def _input_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Inputs that are not what they were. The same content under another name is no change: it was moved."""
    gone = Counter(digest for name, digest in before.items() if name not in after)
    new = Counter(digest for name, digest in after.items() if name not in before)
    if gone == new:
        before = {name: digest for name, digest in before.items() if name in after}
        after = {name: digest for name, digest in after.items() if name in before}
    return [
        f"input {name}: "
        + ("is new" if name not in before else "is gone" if name not in after else "has changed")
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, for every setting of a nested recipe."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None or not value:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, item in items:
        leaves |= _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves


# Which directory a command takes where none is named: `runs/SYSTEM-ACTION`, `-2`, `-3` ...


def default_out(system: str, action: str, *, resume: bool = False, root: Path = Path("runs")) -> Path:
    """Where a run goes without ``--out``: ``runs/leret-train``, else ``runs/leret-train-2`` and so on.

    With ``resume`` it is the unfinished run of this system and action that was started last; where there is
    none, a new one. Of several processes one must choose for all.
    """
    if resume:
        unfinished_run = last_unfinished(system, action, root=root)
        if unfinished_run is not None:
            return unfinished_run
        say(f"no unfinished run of {system} {action} under {root}/: starting a new one")
    base = root / f"{system}-{action}"
    taken = _taken(base)
    return root / f"{base.name}-{len(taken) + 1}" if taken else base


def last_unfinished(system: str, action: str, *, root: Path = Path("runs")) -> Path | None:
    """The unfinished run of this system and action that was started last; None where there is none."""
    taken = _taken(root / f"{system}-{action}")
    return next((directory for directory in reversed(taken) if unfinished(directory)), None)


def last_run(system: str, action: str, *, root: Path = Path("runs")) -> Path | None:
    """The run of this system and action that was started last, finished or not; None where there is none."""
    return next(reversed(_taken(root / f"{system}-{action}")), None)


def _taken(base: Path) -> list[Path]:
    """``base``, ``base-2`` and so on, up to the first that is free."""
    taken = [base] if occupied(base) else []
    while taken and occupied(following := base.with_name(f"{base.name}-{len(taken) + 1}")):
        taken.append(following)
    return taken


def occupied(directory: Path) -> bool:
    """Whether anything lies there: a file of that name, or a folder that is not empty."""
    return directory.exists() and not (directory.is_dir() and not any(directory.iterdir()))


def unfinished(directory: Path) -> bool:
    """Whether the folder holds a run that has not come to its end."""
    if not (directory / MANIFEST).exists():
        return _barely_started(directory)
    return read_manifest(directory / MANIFEST).finished is None


def check_unfinished(maker: str, last: Path | None, root: Path = Path("runs")) -> None:
    """Hold ``last``, the newest finished run of ``maker`` below ``root``, to be the newest of its runs.

    Args:
        maker: a command, such as ``hyre train``.
        last: None where there is none.

    Raises:
        RunError: one was begun after it, and has not come to its end.
    """
    since = read_manifest(last / MANIFEST).started if last and (last / MANIFEST).is_file() else ""
    for path in root.glob(f"*/{MANIFEST}"):
        manifest = read_manifest(path)
        if manifest.finished is None and command_name(manifest.command) == maker and manifest.started > since:
            go_on = _resume_line(manifest.command, path.parent)
            raise RunError(
                f"{path.parent}: the last `lmtools {maker}` has not come to its end",
                fix=f"{go_on}   (or name a finished run{f', such as {last}' if last else ''})",
            )


# Why a directory is not the run that a command works on: absent, another command's, or not finished.


def wrong_run(directory: Path, lacks: str, maker: str) -> RunError:
    """The error for a directory that ``maker`` did not make, or has not finished.

    Args:
        lacks: what is not in it, such as ``trained ensemble``.
        maker: the command that makes it, such as ``hyre train``.
    """
    command, example = f"lmtools {maker}", f"runs/{maker.replace(' ', '-')}"
    fix = f"name a run of `{command}`, such as {example}"
    if not directory.exists():
        near = near_path(directory, folders=True)
        return RunError(f"{directory}: no such directory", fix=f"did you mean {near}?" if near else fix)
    if not (directory / MANIFEST).is_file():
        return RunError(f"{directory}: holds no {lacks}", fix=fix)
    manifest = read_manifest(directory / MANIFEST)
    actual = command_name(manifest.command)
    if actual == maker and manifest.finished is None:
        return RunError(
            f"{directory}: holds no {lacks}: the run has not come to its end",
            fix=_resume_line(manifest.command, directory),
        )
    by = f"a run of `lmtools {actual}`" if actual else "another run"
    return RunError(f"{directory}: holds no {lacks}: it is {by}", fix=fix)


def command_name(command: list[str]) -> str:
    """Group and name of a command line, without options: ``leret train``; empty if it begins with options.

    >>> command_name(["lmtools", "leret", "train", "--seed", "1"])
    'leret train'
    """
    words: list[str] = []
    for word in command[1:3]:
        if word.startswith("-"):
            break
        words.append(word)
    return " ".join(words)


def _resume_line(command: list[str], directory: Path) -> str:
    """The command line that goes on with a run."""
    kept = list(command)
    if "--resume" not in kept:
        kept.append("--resume")
    if not any(word == "--out" or word.startswith("--out=") for word in kept):
        kept += ["--out", str(directory)]
    return shlex.join(kept)
