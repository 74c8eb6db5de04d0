"""From a recipe to a finished run: what every function that makes a run directory shares.

    with open_run("hyre", "train", recipe, inputs=inputs.hashes, seed=recipe.seed, out=out, **options) as run:
        results = ...                                  # the work; every stage can be resumed
        return finish(run, results, files=lambda: {"": run.path("ensemble")}, push_to_hub=repo)

The functions are those of `lmtools.<system>.api`; a command of the shell parses, calls one of them, prints.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from lmtools.core.config import Config
from lmtools.core.files import sha256_text
from lmtools.core.lm_eval import HarnessRun
from lmtools.core.lm_eval import write_lm_eval as write_lm_eval_files
from lmtools.core.progress import first_process, say
from lmtools.core.recipe import dump_recipe
from lmtools.core.results import Difference, Results, Row
from lmtools.core.run import Run, default_out, last_run, last_unfinished, started_with
from lmtools.core.strings import secrets_masked
from lmtools.core.tracking import TrackedRun, Tracker, open_tracker
from lmtools.models.precision import describe_precisions
from lmtools.models.publish import local_paths, upload
from lmtools.models.spec import ModelSpec
from lmtools.report.page import write_report

LARGE = 1_000_000
"""Bytes; a larger JSON file is a vocabulary."""


class RunOptions(TypedDict, total=False):
    """What every function that makes a run takes by keyword, and hands on to ``open_run``.

    ``resume`` continues the run in ``out``, or the last unfinished one; a finished one is only read.
    ``track`` is a tracker or the name of one, to which curves and final figures are also sent. It is no part
    of the run: one that was begun without it can be resumed with it, and the other way round.
    ``command`` is what the manifest says was called.
    """

    resume: bool
    track: str | Tracker | None
    command: Sequence[str]


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end: where its files are, what it measured, and where it was published."""

    directory: Path
    results: Results
    pushed: str | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the results."""
        return self.results.rows

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The paired differences of the results."""
        return self.results.differences

    def row(self, name: str) -> Row:
        """The row of that name; KeyError where there is none."""
        return self.results.row(name)

    def as_json(self) -> dict[str, Any]:
        """What a command prints with ``--json``."""
        pushed = {} if self.pushed is None else {"pushed": self.pushed}
        return {"run": str(self.directory), **asdict(self.results), **pushed}


@contextmanager
def open_run(
    system: str,
    action: str,
    recipe: Config,
    *,
    inputs: Mapping[str, str],
    seed: int,
    out: Path | str | None,
    pick_up: bool = False,
    reopen: bool = False,
    agree: Callable[[Callable[[], str]], str] = lambda choose: choose(),
    precision: Mapping[str, str] | None = None,
    **options: Unpack[RunOptions],
) -> Iterator[Run]:
    """Open the directory of a run, new or resumed; one that comes to its end gets its `report.html`.

    Args:
        inputs: each input's path or name -> SHA-256 of its content.
        out: the run directory; None: a new one under runs/, or with ``resume`` the last unfinished one.
        pick_up: without ``out``, continue the last unfinished run if it is the same one, as ``resume`` does.
        reopen: with ``resume`` and no unfinished run, take the last finished one: something is made of it.
        agree: makes several processes choose the same directory.
        precision: for the manifest; None: that of every model of the recipe.

    Raises:
        RunError: the directory holds another run, or is in use.
        MachineError: it cannot be written.
    """
    resume, track = options.get("resume", False), options.get("track")
    if precision is None:
        precision = describe_precisions(recipe)
    if pick_up and out is None and not resume:
        last = last_unfinished(system, action)
        resume = last is not None and started_with(last, dump_recipe(recipe), inputs, seed)
        if resume:
            say(f"{last}/ was interrupted: continuing it")
    if out is None and resume and reopen and last_unfinished(system, action) is None:
        out = last_run(system, action)
    directory = Path(out or agree(lambda: str(default_out(system, action, resume=resume))))
    command = options.get("command", ("lmtools", system, action))
    with Run.create(
        directory, recipe, command=list(command), inputs=inputs, resume=resume, seed=seed, precision=precision
    ) as run:
        if track is not None and run.writes:
            run.tracker = open_tracker(track, _tracked(run, recipe)) if isinstance(track, str) else track
        try:
            yield run
        finally:  # also where what comes after the run has failed, such as an upload
            if run.writes and run.manifest.finished:
                _write_page(run)


def finish(
    run: Run,
    results: Results,
    files: Callable[[], Mapping[str, Path | str]] | None = None,
    again: str = "the same command with --resume sends it",
    *,
    push_to_hub: str | None = None,
    public: bool = False,
) -> FinishedRun:
    """End a run: its metrics, and last of all the upload, when everything is on disk.

    Args:
        files: what is published: path in the repository -> a file or folder, or the text of a file.
        again: what to do about files that could not be sent.
        push_to_hub: a repository of the Hugging Face hub, new or there; a new one is private unless
            ``public``.

    Raises:
        MachineError: the metrics cannot be written, or the files not be sent.
    """
    run.finish(results)
    pushed = None
    if files is not None:
        pushed = push(files, again, push_to_hub=push_to_hub, public=public)
    return FinishedRun(run.directory, results, pushed)


def push(
    files: Callable[[], Mapping[str, Path | str]], again: str, *, push_to_hub: str | None, public: bool
) -> str | None:
    """Send files to the hub; gives the address where they are now, None where none was asked for.

    Raises:
        MachineError: they could not be sent; ``again`` tells what to do.
    """
    if push_to_hub is None or not first_process():
        return None
    sent = files()
    _mention_paths(sent)
    say(f"sending to the hub: {push_to_hub} ...")
    address = upload(sent, push_to_hub, public=public, again=again)
    say(f"it is at {address}")
    return address


def write_lm_eval(
    directory: Path | None,
    run: Run,
    results: Results,
    model: ModelSpec,
    whole: str,
    resamples: int,
    *,
    samples: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    **more: Any,
) -> None:
    """``--lm-eval-out``: a finished run's results for lm-evaluation-harness's readers; None writes nothing.

    Args:
        whole: the task of metrics that are over several tasks, or that have none.
        samples: as ``lmtools.core.lm_eval.write_lm_eval``.
        more: other fields of ``HarnessRun``.
    """
    if directory is None or not run.writes or not results.rows:
        return
    arguments = {"pretrained": model.name, "dtype": model.dtype, "device": model.device}
    if model.adapter:
        arguments["peft"] = model.adapter
    seconds = round(sum(run.manifest.stages.values()), 3)
    # Like the harness, which calls an adapter's results by the adapter.
    name = model.adapter or model.name
    ran = HarnessRun(name, model.backend, arguments, whole, resamples, seconds, **more)
    say(f"wrote {write_lm_eval_files(directory, results, ran, samples)}")


def _write_page(run: Run) -> None:
    """Write the run's page. What was measured stands without it: a fault here does not fail the run."""
    try:
        say(f"report: {write_report([run.directory])}")
    except Exception as error:
        say(f"no report was written ({error}); try again: lmtools --debug report {run.directory}")


def _tracked(run: Run, recipe: Config) -> TrackedRun:
    """What a tracker is told of a run."""
    key = sha256_text(f"{run.directory.resolve()} {run.manifest.started}")[:16]
    return TrackedRun(run.directory.name, key, run.directory, secrets_masked(recipe.model_dump(mode="json")))


def _mention_paths(files: Mapping[str, Path | str]) -> None:
    """Say which paths of this machine go along in settings."""
    texts = {name: source for name, source in files.items() if isinstance(source, str)}
    for folder in [source for source in files.values() if isinstance(source, Path) and source.is_dir()]:
        small = (file for file in folder.rglob("*.json") if file.stat().st_size < LARGE)
        texts |= {file.name: file.read_text(encoding="utf-8", errors="replace") for file in small}
    for name, text in texts.items():
        for path in dict.fromkeys(local_paths(text)):
            say(f"note: {name} names {path}, a path of this machine, and is sent as it is")
