"""``lmtools ats``: fit, eval, export."""

import json as json_module
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.artefacts import of_export, of_head, of_last_run, push
from lmtools.cli.options import (
    Backend,
    DryRun,
    Json,
    LmEval,
    Model,
    Out,
    Public,
    PushToHub,
    Recipe,
    Resume,
    Seed,
    Set,
    Track,
    overrides,
)
from lmtools.cli.output import emit
from lmtools.core.errors import RunError
from lmtools.core.progress import say
from lmtools.core.run import wrong_run
from lmtools.models.recipes import load_model_recipe

if TYPE_CHECKING:
    from lmtools.ats.recipe import AtsRecipe

DEFAULT = "ats/quickstart"
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
def fit(
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
    push_to_hub: PushToHub = None,
    public: Public = False,
) -> None:
    """Fit a temperature head and all baselines; a few minutes as it stands, on two CPU cores."""
    from lmtools.ats.recipe import AtsRecipe

    config = load_model_recipe(AtsRecipe, recipe, overrides(settings, model, backend, seed), default=DEFAULT)
    if dry_run:
        _show_plan(config, json)
        return
    from lmtools.ats.commands import fit as run_fit
    from lmtools.ats.inputs import prepare
    from lmtools.cli.runs import finish, open_run

    setup = prepare(config)
    out = of_last_run("ats", "fit", out, resume, push_to_hub is not None)
    with open_run(
        "ats", "fit", config, inputs=setup.inputs, seed=config.seed, out=out, resume=resume, track=track
    ) as run:
        results = run_fit(setup, run, recipe or DEFAULT)
        of_head(run, config, results)
        closing = f"files: {run.directory}/   next: lmtools ats eval {run.directory}"
        pushed = partial(push, push_to_hub, public, lambda: {"": run.path("head")})
        finish(run, results, json, closing, ("loss", "nll", "token-ece", "multiplier"), pushed)


@app.command(name="eval")
def evaluate(
    run: FittedRun = None,
    task: Tasks = None,
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
    """Measure a fitted run on questions: `lmtools eval calibration` with its head and all its baselines."""
    from lmtools.calibration.recipe import CalibrationRecipe
    from lmtools.cli import eval_run
    from lmtools.cli.eval import DEFAULT as MEASUREMENT

    given = eval_run.fitted_model(fitted(run))
    given += [f"tasks={json_module.dumps(task)}"] if task else []
    given += overrides(settings, model, backend, seed)
    config = load_model_recipe(CalibrationRecipe, recipe, given, default=MEASUREMENT)
    if dry_run:
        eval_run.show_plan(config, json)
        return
    eval_run.measure(
        "ats", "eval", config, recipe or MEASUREMENT, out=out, resume=resume, json=json, track=track,
        lm_eval_out=lm_eval_out,
    )  # fmt: skip


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
    from lmtools.ats.export import export_vllm
    from lmtools.ats.recipe import AtsRecipe

    source = fitted(run)
    config = load_model_recipe(AtsRecipe, str(source / "recipe.yaml"), default=DEFAULT)
    written = export_vllm(source, to or source / format.value, config.model)
    of_export(source, written, config)
    say(f"wrote {written}; serve it with: vllm serve {written}")
    again = f"`hf upload {push_to_hub} {written}` sends it"
    pushed = push(push_to_hub, public, lambda: {"": written}, again)
    emit({"run": str(source), "format": format.value, "path": str(written), **pushed}, json)


def fitted(directory: Path | None, root: Path = Path("runs")) -> Path:
    """The named fitted run, or the one that was finished last.

    Raises:
        RunError: it is none, or none is named and there is none.
    """
    if directory is not None:
        if not (directory / "recipe.yaml").is_file() or not (directory / "head" / "head.json").is_file():
            raise wrong_run(directory, "fitted head", "ats fit")
        return directory
    # The last thing that a fit writes, and others write too; a quickstart's fit is a folder of its run.
    written = (*root.glob("*/metrics.json"), *root.glob("*/ats/metrics.json"))
    found = [path for path in written if (path.parent / "head" / "head.json").is_file()]
    if not found:
        raise RunError(f"no fitted head under {root}/", fix="fit one: lmtools ats fit")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def _show_plan(config: "AtsRecipe", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.ats.dry_run import dry_run, print_dry_run

    plan = dry_run(config)
    emit(plan, json)
    if not json:
        print_dry_run(plan)
