"""``lmtools eval``: measure a model."""

import json as json_module
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.invocation import as_called
from lmtools.cli.options import LmEval, Options, with_options
from lmtools.cli.output import emit, say_verdicts
from lmtools.core.progress import say

if TYPE_CHECKING:
    from lmtools.calibration.api import CalibrationRun
    from lmtools.calibration.dry_run import Plan
    from lmtools.core.results import Results

METRICS = ("accuracy", "ece", "brier", "auroc")
"""The metrics of the printed tables; the result file has them all."""
app = typer.Typer(
    no_args_is_help=True,
    help="Measure a model: is it right as often as it is sure? Does it rank as users do?",
)
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME|FILE",
        help="In place of the recipe's tasks: mmlu, truthfulqa, truthfulqa-free, triviaqa, nq, popqa, atlas, "
        "atlas-short, a JSONL file of questions, or a YAML definition; repeatable. Time grows with the "
        "questions of all.",
        autocompletion=completion.tasks,
    ),
]
Head = Annotated[
    Path | None,
    typer.Option(
        "--head",
        metavar="RUN",
        help="A run of `lmtools ats fit`: its head and baselines are measured beside the uncalibrated model, "
        "which is then that run's. The model runs once for all of them.",
        file_okay=False,
        autocompletion=completion.runs("head/head.json"),
    ),
]


@app.callback()
def evaluate() -> None:
    """Measure a model: is it right as often as it is sure?"""


@app.command()
@with_options()
def calibration(
    *, task: Tasks = None, head: Head = None, options: Options, lm_eval_out: LmEval = None
) -> None:
    """Is the model right as often as it says? Accuracy, ECE, Brier, AUROC ... with intervals and diagrams.

    As it stands: the built-in model on the bundled questions, about 2 minutes on two CPU cores.
    """
    from lmtools.ats.api import head_settings, open_head
    from lmtools.calibration import api

    recipe = options.recipe or api.DEFAULT
    settings = [*head_settings(head), *task_setting(task), *options.overrides()]
    if options.dry_run:
        show_calibration_plan(api.plan(recipe, settings, open_head=open_head), options.json)
        return
    run = api.run_evaluation(
        recipe, options.out, settings, lm_eval_out=lm_eval_out, open_head=open_head, **options.run()
    )
    show_calibration(run, options.json)


@app.command()
@with_options()
def reward(
    *,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="FILE|FOLDER",
            help="Preference pairs, told apart by `distribution` (RewardBench's subsets are), or a folder "
            "with a file of each; in place of the recipe's. The model reads every answer once, which is what "
            "takes time.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run of `lmtools hyre train`; without it and without --model the last one, or a new one, "
            "which takes a few minutes.",
            file_okay=False,
            autocompletion=completion.runs("ensemble"),
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE|RUN",
            help="The weights of `lmtools hyre adapt`: one user's reward model is measured; without them the "
            "run's single head, one reward for all. No cost.",
            autocompletion=completion.weights,
        ),
    ] = None,
    options: Options,
    lm_eval_out: LmEval = None,
) -> None:
    """Does a reward model rank answers as people do? Accuracy per distribution and RewardBench section.

    `--model` is any sequence-classification reward model; without one, an ensemble of `lmtools hyre train`.
    """
    from lmtools.hyre import api

    named = {"pairs": pairs, "run": run and str(run), "weights": weights and str(weights)}
    settings = [f"{key}={json_module.dumps(value)}" for key, value in named.items() if value is not None]
    settings += options.overrides()
    recipe = options.recipe or api.REWARD
    if options.dry_run:
        from lmtools.hyre.dry_run import print_reward_plan

        plan = api.plan_reward(recipe, settings)
        emit(plan, options.json)
        print_reward_plan(plan)
        return
    measured = api.evaluate_reward(recipe, options.out, settings, lm_eval_out=lm_eval_out, **options.run())
    for name, value in measured.rows[0].metrics.items():
        say(f"{name:<32} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]  n = {value.n}")
    say(f"\nfiles: {measured.directory}/   (metrics.json)")
    emit(measured.as_json(), options.json)


def task_setting(tasks: Sequence[str] | None) -> list[str]:
    """The setting that ``--task`` stands for."""
    return [f"tasks={json_module.dumps(tasks)}"] if tasks else []


def show_calibration(run: "CalibrationRun", json: bool) -> None:
    """A finished measurement: a table for each task, what to do next, and with ``json`` all on stdout."""
    print_tables(run.results)
    fit = f"lmtools ats fit --model {run.recipe.model.name}"
    following = fit if run.recipe.head is None else f"lmtools ats export {run.recipe.head}"
    files = f"files: {run.directory}/   (predictions.jsonl, metrics.json)"
    say(as_called(f"\n{files}   next: {following}"))
    emit(run.as_json(), json)


def print_tables(results: "Results") -> None:
    """A table for each task, and the verdicts, on stderr."""
    from lmtools.report.markdown import print_table

    tasks = dict.fromkeys(name.rpartition("/")[0] for row in results.rows for name in row.metrics)
    for task in tasks:
        rows = [
            replace(
                row,
                metrics={
                    name: row.metrics[full] for name in METRICS if (full := f"{task}/{name}") in row.metrics
                },
            )
            for row in results.rows
        ]
        count = results.rows[0].metrics[f"{task}/accuracy"].n
        say(f"\n{task} ({count} answers)")
        present = [name for name in METRICS if any(name in row.metrics for row in rows)]
        print_table(replace(results, rows=tuple(rows)), present)
    say_verdicts(results)


def show_calibration_plan(plan: "Plan", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.calibration.dry_run import print_dry_run

    emit(plan, json)
    if not json:
        print_dry_run(plan)
