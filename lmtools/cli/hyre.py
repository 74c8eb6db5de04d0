"""``lmtools hyre``: train, adapt, query, eval, score."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.artefacts import ensemble_files, of_last_run, push
from lmtools.cli.hyre_run import DEFAULT, check_trainable, measure, trained, trained_or_new
from lmtools.cli.hyre_run import train as run_train
from lmtools.cli.options import (
    Ask,
    Backend,
    Count,
    DryRun,
    Examples,
    Json,
    LmEval,
    Model,
    Out,
    PairsFile,
    Public,
    PushToHub,
    Recipe,
    Resume,
    Rule,
    Seed,
    Set,
    TargetName,
    Track,
    TrainedRun,
    WeightsFile,
    overrides,
)
from lmtools.cli.output import emit
from lmtools.cli.runs import ending
from lmtools.core.errors import LmtoolsError
from lmtools.models.recipes import load_model_recipe

if TYPE_CHECKING:
    from lmtools.hyre.recipe import HyreRecipe

app = typer.Typer(no_args_is_help=True, help="One reward ensemble, every user's own reward model.")


@app.command()
def train(
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
    """Train an ensemble of reward heads on preference pairs; minutes as it stands, on two CPU cores."""
    config = _config(recipe, overrides(settings, model, backend, seed))
    check_trainable(config)
    if dry_run:
        _show_plan(config, json, targets=False)
        return
    out = of_last_run("hyre", "train", out, resume, push_to_hub is not None)
    directory, results = run_train(config, recipe or DEFAULT, out=out, resume=resume, track=track)
    next_line = f"lmtools hyre adapt --examples 5 --run {directory}"
    ending(results, f"files: {directory}/   next: {next_line}")
    pushed = push(push_to_hub, public, partial(ensemble_files, directory))
    emit({"run": str(directory), **asdict(results), **pushed}, json)


@app.command(name="eval")
def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run of `lmtools hyre train`. With --recipe and no RUN, ensembles are trained first, in "
            "the same directory; with neither, the last trained run is measured.",
            file_okay=False,
            autocompletion=completion.runs("ensemble"),
        ),
    ] = None,
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
    """What are five labelled pairs worth? Every target, number of labels and baseline, with intervals."""
    given = overrides(settings, model, backend, seed)
    if run is not None and recipe is not None:
        raise LmtoolsError(
            f"{run} was trained with a recipe of its own, and --recipe {recipe} is another",
            fix="leave --recipe out and change single settings with --set, or leave RUN out to train anew",
        )
    source = None if recipe is not None and run is None else trained(run)
    if source is None:
        config, name = _config(recipe, given), recipe or DEFAULT
    else:
        from lmtools.hyre.reward import trained_recipe

        config, name = trained_recipe(source, given), recipe or str(source)
    if dry_run:
        _show_plan(config, json, targets=True, train=source is None)
        return
    directory, results = measure(
        config, name, source, out=out, resume=resume, track=track, lm_eval_out=lm_eval_out
    )
    from lmtools.report.label_curves import headline

    following = f"lmtools hyre adapt --examples 5 --run {source or directory}"
    ending(
        headline(results, config.name), f"files: {directory}/   (metrics.json, measured/)   next: {following}"
    )
    emit({"run": str(directory), **asdict(results)}, json)


@app.command()
def adapt(
    examples: Examples = 5,
    pairs: PairsFile = None,
    target: TargetName = None,
    run: TrainedRun = None,
    ask: Ask = False,
    by: Rule = "bald",
    settings: Set = None,
    out: Out = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    json: Json = False,
    resume: Resume = False,
) -> None:
    """Turn the ensemble into one user's reward model: weights for its heads, from a few labelled pairs.

    The pairs that were not learned from are tested on. `--set adapt.temperature=0.5` and the like change how.
    """
    from lmtools.cli.hyre_adapt import Asked, adapt_user, show_plan

    source = trained_or_new(run) if not dry_run else trained(run)
    asked = Asked(examples, pairs, target, ask, by)
    given = overrides(settings, None, None, seed)
    if dry_run:
        show_plan(source, asked, given, json)
        return
    assert source is not None
    adapt_user(source, asked, given, out=out, resume=resume, json=json)


@app.command()
def query(
    count: Count = 10,
    by: Rule = "bald",
    pairs: PairsFile = None,
    target: TargetName = None,
    weights: WeightsFile = None,
    run: TrainedRun = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Write these pairs to this file as JSONL, to be labelled; replaced if it exists.",
        ),
    ] = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Which pairs to label next: those that would tell the ensemble most. Labels are not looked at."""
    from lmtools.cli.hyre_query import query_pairs

    query_pairs(trained_or_new(run), pairs, target, weights, by, count, seed or 0, output, json)


@app.command()
def score(
    input: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="FILE",
            help="JSONL of `prompt` and `completion`, or of `messages` that end with the answer. The model "
            "reads each line once.",
        ),
    ],
    weights: WeightsFile = None,
    run: TrainedRun = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="JSONL to write, replaced if it exists: each line of the input with its reward; without it "
            "the rewards are printed.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Rewards of answers under given weights. Only those of answers to the same prompt compare."""
    from lmtools.cli.hyre_query import score_answers

    score_answers(trained_or_new(run), input, weights, output, json)


def _config(recipe: str | None, given: list[str]) -> "HyreRecipe":
    from lmtools.hyre.recipe import HyreRecipe

    return load_model_recipe(HyreRecipe, recipe, given, default=DEFAULT)


def _show_plan(config: "HyreRecipe", json: bool, *, targets: bool, train: bool = True) -> None:
    """``--dry-run``."""
    from lmtools.hyre.dry_run import dry_run, print_dry_run

    plan = dry_run(config, targets=targets, train=train)
    emit(plan, json)
    if not json:
        print_dry_run(plan)
