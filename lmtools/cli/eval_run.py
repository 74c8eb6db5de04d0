"""A calibration measurement from the shell: opens model and run, measures, draws, prints the tables."""

import json as json_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.invocation import as_called
from lmtools.cli.lm_eval_out import write_calibration
from lmtools.cli.output import emit
from lmtools.cli.runs import open_run
from lmtools.core.errors import RunError
from lmtools.core.files import sha256_file, sha256_text
from lmtools.core.progress import say
from lmtools.core.recipe import parse_yaml

if TYPE_CHECKING:
    from lmtools.calibration.recipe import CalibrationRecipe
    from lmtools.calibration.scoring import Reader
    from lmtools.core.results import Results
    from lmtools.core.run import Run
    from lmtools.core.tracking import Tracker

SHOWN = ("accuracy", "ece", "brier", "auroc")
"""The metrics of the printed tables; the result file has them all."""
FITTED = ("head", "heads", "baselines.json", "vector.safetensors", "head.json", "head.safetensors")
"""What a run of `lmtools ats fit`, or a head's own directory, holds of its methods."""
CARD = "README.md"


def measure(
    system: str,
    action: str,
    config: "CalibrationRecipe",
    recipe: str,
    *,
    out: Path | None,
    resume: bool,
    json: bool,
    track: str | None = None,
    lm_eval_out: Path | None = None,
) -> None:
    """Run a calibration measurement to its end; ``recipe`` is the name that its result file carries."""
    with measurement(
        system, action, config, recipe, out=out, resume=resume, track=track, lm_eval_out=lm_eval_out
    ) as (run, results):
        fit = f"lmtools ats fit --model {config.model.name}"
        following = fit if config.head is None else f"lmtools ats export {config.head}"
        say(as_called(f"\nfiles: {run.directory}/   (predictions.jsonl, metrics.json)   next: {following}"))
        emit({"run": str(run.directory), **asdict(results)}, json)


@contextmanager
def measurement(
    system: str,
    action: str,
    config: "CalibrationRecipe",
    recipe: str,
    *,
    out: Path | None,
    resume: bool,
    track: "str | Tracker | None" = None,
    lm_eval_out: Path | None = None,
) -> "Iterator[tuple[Run, Results]]":
    """A measurement that is finished and printed, in its run directory."""
    from lmtools.calibration.evaluate import evaluate
    from lmtools.calibration.inputs import prepare
    from lmtools.report.calibration_plots import write_plots

    head = {} if config.head is None else head_hashes(Path(config.head))
    setup = prepare(config, methods_of(config))
    inputs = {**setup.inputs, **head}
    with open_run(
        system, action, config, inputs=inputs, seed=config.seed, out=out, resume=resume, track=track
    ) as run:
        results = evaluate(setup, run, reader_of(config), recipe)
        if run.writes and results.rows:
            write_plots(run.path("predictions.jsonl"), results, run.path("plots"))
        run.finish(results)
        print_tables(results)
        write_calibration(lm_eval_out, setup, run, results)
        yield run, results


def reader_of(config: "CalibrationRecipe") -> "Callable[[], Reader]":
    """How to open the model with its methods; done only when an answer is needed."""

    def open_it() -> "Reader":
        if config.head is not None:
            from lmtools.ats.calibrated import open_reader

            return open_reader(config.model, Path(config.head), config.methods)
        from lmtools.calibration.scoring import GeneratorReader
        from lmtools.generation.open import open_generator

        return GeneratorReader(open_generator(config.model, float32_logits=True), config.method)

    return open_it


def methods_of(config: "CalibrationRecipe") -> tuple[str, ...]:
    """The methods that can be measured, by name; loads no model.

    Raises:
        RecipeError: the recipe names one that was not fitted.
        ModelError: a piece of the fitted run is missing or broken.
    """
    if config.head is None:
        return (config.method,)
    from lmtools.ats.fit import fitted_methods

    return fitted_methods(Path(config.head), config.methods)


def fitted_model(run: Path) -> list[str]:
    """The settings that name a fitted run, or a head alone, and the model it was fitted on.

    Raises:
        RunError: there is no such run.
    """
    head_hashes(run)
    settings = [f"head={json_module.dumps(str(run))}"]
    recipe = run / "recipe.yaml"
    if recipe.is_file():
        model = parse_yaml(recipe.read_text(encoding="utf-8"), str(recipe)).get("model")
        settings += [f"model={json_module.dumps(model)}"] if isinstance(model, dict) else []
    return settings


def head_hashes(run: Path) -> dict[str, str]:
    """SHA-256 over the files of each fitted part of a run.

    Raises:
        RunError: the run holds none.
    """
    found = {}
    for part in FITTED:
        path = run / part
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        parts = [file for file in files if file.is_file() and file.name != CARD]  # which says nothing new
        lines = [f"{file.relative_to(run)} {sha256_file(file)}" for file in parts]
        if lines:
            found[f"{run}/{part}"] = sha256_text("\n".join(lines))
    if not found:
        raise RunError(
            f"{run}: holds no fitted head",
            fix="name a run of `lmtools ats fit`, or the head's folder in it",
        )
    return found


def print_tables(results: "Results") -> None:
    """A table for each task, on stderr."""
    from lmtools.report.markdown import print_table

    tasks = dict.fromkeys(name.rpartition("/")[0] for row in results.rows for name in row.metrics)
    for task in tasks:
        rows = tuple(
            replace(
                row,
                metrics={
                    name: row.metrics[full] for name in SHOWN if (full := f"{task}/{name}") in row.metrics
                },
            )
            for row in results.rows
        )
        count = results.rows[0].metrics[f"{task}/accuracy"].n
        say(f"\n{task} ({count} answers)")
        shown = [name for name in SHOWN if any(name in row.metrics for row in rows)]
        print_table(replace(results, rows=rows), shown)


def show_plan(config: "CalibrationRecipe", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.calibration.dry_run import dry_run, print_dry_run

    check_head = None
    if config.head is not None:
        from lmtools.ats.fit import check_fits

        head_hashes(Path(config.head))
        check_head = partial(check_fits, Path(config.head), config.model)
    plan = dry_run(config, methods_of(config), check_head)
    emit(plan, json)
    if not json:
        print_dry_run(plan)
