"""``lmtools ats``: fit, eval, export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.eval import show_calibration, show_calibration_plan, task_setting
from lmtools.cli.options import Json, LmEval, Options, Public, PushToHub, with_options
from lmtools.cli.output import emit, show_run

if TYPE_CHECKING:
    from lmtools.ats.dry_run import Plan

app = typer.Typer(no_args_is_help=True, help="Fit a small head that makes a model's probabilities honest.")
FittedRun = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RUN]",
        help="A run of `lmtools ats fit`; without it, the last finished one under runs/.",
        file_okay=False,
        autocompletion=completion.runs("head/head.json"),
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME|FILE",
        help="What is asked, in place of the recipe's tasks, as for `lmtools eval calibration`; repeatable. "
        "Time grows with the questions of all.",
        autocompletion=completion.tasks,
    ),
]


class Format(StrEnum):
    """What an exported model is for."""

    vllm = "vllm"


@app.command()
@with_options()
def fit(options: Options, push_to_hub: PushToHub = None, public: Public = False) -> None:
    """Fit a temperature head and all baselines; a few minutes as it stands, on two CPU cores."""
    from lmtools.ats import api

    recipe = options.recipe or api.DEFAULT
    if options.dry_run:
        show_plan(api.plan(recipe, options.overrides()), options.json)
        return
    run = api.run_fit(
        recipe, options.out, options.overrides(), push_to_hub=push_to_hub, public=public, **options.run()
    )
    from lmtools.ats.card import METRICS

    closing = f"files: {run.directory}/   next: lmtools ats eval {run.directory}"
    show_run(run, options.json, closing, METRICS)


@app.command(name="eval")
@with_options()
def evaluate(
    *, run: FittedRun = None, task: Tasks = None, options: Options, lm_eval_out: LmEval = None
) -> None:
    """Measure a fitted run on questions: `lmtools eval calibration` with its head and all its baselines."""
    from lmtools.ats import api
    from lmtools.calibration.api import DEFAULT

    fitted = api.find_fit(run)
    recipe, settings = options.recipe or DEFAULT, [*task_setting(task), *options.overrides()]
    if options.dry_run:
        show_calibration_plan(api.plan_evaluation(fitted, settings, recipe=recipe), options.json)
        return
    measured = api.run_evaluation(
        fitted, options.out, settings, recipe=recipe, lm_eval_out=lm_eval_out, **options.run()
    )
    show_calibration(measured, options.json)


@app.command()
def export(
    run: FittedRun = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where to write it; without it, `vllm` in the run. Takes as much disk as the model.",
            file_okay=False,
        ),
    ] = None,
    format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="For which engine: vllm, a model directory for `vllm serve` and `LLM(model=...)`.",
        ),
    ] = Format.vllm,
    json: Json = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
) -> None:
    """Write the calibrated model as a directory that another engine serves."""
    from lmtools.ats import api

    exported = api.export(api.find_fit(run), to, push_to_hub=push_to_hub, public=public)
    emit(exported.as_json(), json)


def show_plan(plan: "Plan", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.ats.dry_run import print_dry_run

    emit(plan, json)
    if not json:
        print_dry_run(plan)
