"""``lmtools hyre``: train, eval, adapt, query, score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmtools.cli import completion
from lmtools.cli.invocation import as_called
from lmtools.cli.options import (
    Acquisition,
    Ask,
    Count,
    Examples,
    Json,
    LmEval,
    Options,
    PairsFile,
    Public,
    PushToHub,
    Seed,
    TargetName,
    TrainedRun,
    WeightsFile,
    command_line,
    with_options,
)
from lmtools.cli.output import echo, emit, show_results, show_run
from lmtools.core.errors import LmtoolsError
from lmtools.core.progress import say
from lmtools.core.strings import short

if TYPE_CHECKING:
    from lmtools.hyre.api import AdaptedRun
    from lmtools.hyre.dry_run import Plan

app = typer.Typer(no_args_is_help=True, help="One reward ensemble, every user's own reward model.")


@app.command()
@with_options()
def train(options: Options, push_to_hub: PushToHub = None, public: Public = False) -> None:
    """Train an ensemble of reward heads on preference pairs; minutes as it stands, on two CPU cores."""
    from lmtools.hyre import api

    recipe = options.recipe or api.DEFAULT
    if options.dry_run:
        show_plan(api.plan(recipe, options.overrides()), options.json)
        return
    run = api.run_training(
        recipe, options.out, options.overrides(), push_to_hub=push_to_hub, public=public, **options.run()
    )
    show_run(run, options.json, f"files: {run.directory}/   next: {_adapt_line(run.directory)}")


@app.command(name="eval")
@with_options()
def evaluate(
    *,
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
    options: Options,
    lm_eval_out: LmEval = None,
) -> None:
    """What are five labelled pairs worth? Every target, number of labels and baseline, with intervals."""
    from lmtools.hyre import api
    from lmtools.report.label_curves import headline

    if run is not None and options.recipe is not None:
        raise LmtoolsError(
            f"{run} was trained with a recipe of its own, and --recipe {options.recipe} is another",
            fix="leave --recipe out and change single settings with --set, or leave RUN out to train anew",
        )
    trained = None if options.recipe is not None else api.find_training(run)
    if options.dry_run:
        plan = api.plan(options.recipe, options.overrides(), trained=trained, targets=True)
        show_plan(plan, options.json)
        return
    measured = api.run_evaluation(
        trained, options.out, options.overrides(), recipe=options.recipe, lm_eval_out=lm_eval_out,
        **options.run(),
    )  # fmt: skip
    following = _adapt_line(trained or measured.directory)
    show_results(
        headline(measured.results, measured.ensemble),
        f"files: {measured.directory}/   (metrics.json, measured/)   next: {following}",
    )
    emit(measured.as_json(), options.json)


@app.command()
@with_options("recipe", "model", "backend", "track")
def adapt(
    *,
    examples: Examples = 5,
    pairs: PairsFile = None,
    target: TargetName = None,
    run: TrainedRun = None,
    ask: Ask = False,
    by: Acquisition = "bald",
    options: Options,
) -> None:
    """Turn the ensemble into one user's reward model: weights for its heads, from a few labelled pairs.

    The pairs that were not learned from are tested on. `--set adapt.temperature=0.5` and the like change how.
    """
    from lmtools.cli.ask import ask as ask_in_terminal
    from lmtools.hyre import api

    if options.dry_run:
        from lmtools.hyre.dry_run import print_adaptation_plan

        plan = api.plan_adaptation(
            run, options.overrides(), examples=examples, pairs=pairs, target=target, by=by, ask=ask,
        )  # fmt: skip
        emit(plan, options.json)
        print_adaptation_plan(plan, api.DEFAULT)
        return
    adapted = api.adapt(
        run, options.out, options.overrides(), examples=examples, pairs=pairs, target=target, by=by,
        ask=ask_in_terminal if ask else None, **options.run(),
    )  # fmt: skip
    _say_weights(adapted)
    if not adapted.rows and not ask:
        say("no pair is left to test on")
    reward = f"--reward {adapted.trained} --weights {adapted.directory}"
    following = f"lmtools generate --prompt TEXT --best-of 4 {reward}"
    show_run(adapted, options.json, f"files: {adapted.directory}/   (weights.json)   next: {following}")


@app.command()
def query(
    count: Count = 10,
    by: Acquisition = "bald",
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
    from lmtools.hyre import api

    answer = api.query(
        run, count=count, by=by, pairs=pairs, target=target, weights=weights, seed=seed or 0,
        output=output, command=command_line(),
    )  # fmt: skip
    emit(answer, json)
    if output is None and not json:
        for row in answer.pairs:
            echo(f"{row['score']:.4f}  {row['id']}  {_prompt_line(row['prompt'])}")
    say(as_called(f"label them in the terminal with: lmtools hyre adapt --ask --run {answer.trained}"))


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
    from lmtools.hyre import api

    answer = api.score(run, input, weights, output)
    emit(answer, json)
    if output is None and not json:
        for row in answer.results:
            echo(f"{row['reward']:+.4f}  {_prompt_line(row.get('completion') or row['messages'])}")


def show_plan(plan: "Plan", json: bool) -> None:
    """``--dry-run`` of a training or an evaluation."""
    from lmtools.hyre.dry_run import print_dry_run

    emit(plan, json)
    if not json:
        print_dry_run(plan)


def _say_weights(adapted: "AdaptedRun") -> None:
    """What the labels made of the heads, for a person."""
    weights = adapted.weights
    heaviest = ", ".join(f"{name} {weight:.3f}" for name, weight in weights.heaviest()[:5])
    say(f"{adapted.user}: {len(weights.examples)} labelled pairs")
    say(f"effective heads {weights.effective_heads:.1f} of {len(weights.weights)}; most weight: {heaviest}")


def _adapt_line(trained: Path) -> str:
    return f"lmtools hyre adapt --examples 5 --run {trained}"


def _prompt_line(prompt: Any) -> str:
    """The last turn of a prompt on a short line."""
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return short(str(text), 70)
