"""``lmtools eval``: measure a model."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.eval_run import measure, show_plan
from lmtools.cli.options import (
    Backend,
    DryRun,
    Json,
    LmEval,
    Model,
    Options,
    Out,
    Recipe,
    Resume,
    Seed,
    Set,
    Track,
    overrides,
    with_options,
)
from lmtools.cli.output import emit
from lmtools.core.progress import say
from lmtools.models.recipes import load_model_recipe

DEFAULT = "calibration/quickstart"
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
def calibration(
    task: Tasks = None,
    head: Head = None,
    recipe: Recipe = None,
    settings: Set = None,
    model: Model = None,
    backend: Backend = None,
    out: Out = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    json: Json = False,
    resume: Resume = False,
    track: Track = None,
    lm_eval_out: LmEval = None,
) -> None:
    """Is the model right as often as it says? Accuracy, ECE, Brier, AUROC ... with intervals and diagrams.

    As it stands: the built-in model on the bundled questions, about 2 minutes on two CPU cores.
    """
    from lmtools.calibration.recipe import CalibrationRecipe
    from lmtools.cli.eval_run import fitted_model

    given = [] if head is None else fitted_model(head)
    if task:
        given.append(f"tasks={json_module.dumps(task)}")
    given += overrides(settings, model, backend, seed)
    config = load_model_recipe(CalibrationRecipe, recipe, given, default=DEFAULT)
    if dry_run:
        show_plan(config, json)
        return
    measure(
        "eval", "calibration", config, recipe or DEFAULT, out=out, resume=resume, json=json, track=track,
        lm_eval_out=lm_eval_out,
    )  # fmt: skip


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
