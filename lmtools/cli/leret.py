"""``lmtools leret``: explore, train, eval, search."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.options import Json, LmEval, Merge, Options, Public, PushToHub, Set, with_options
from lmtools.cli.output import emit, show_run

if TYPE_CHECKING:
    from lmtools.leret.dry_run import Plan

QUESTION = "Your question"
app = typer.Typer(no_args_is_help=True, help="Learn to write search queries by trying them.")
PolicyRun = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="RUN",
        help="A run of `lmtools leret train`, whose policy and recipe are used; without it, the last "
        "finished one under runs/.",
        autocompletion=completion.runs("policy"),
    ),
]


@app.command()
@with_options()
def train(
    options: Options, merge: Merge = False, push_to_hub: PushToHub = None, public: Public = False
) -> None:
    """Explore, train and measure a query-writing policy; about 8 minutes as it stands, on two CPU cores."""
    from lmtools.leret import api

    recipe = options.recipe or api.DEFAULT
    if options.dry_run:
        show_plan(api.plan(recipe, options.overrides()), options.json)
        return
    run = api.run_training(
        recipe, options.out, options.overrides(), merge=merge, push_to_hub=push_to_hub, public=public,
        **options.run(),
    )  # fmt: skip
    show_run(run, options.json, _files(run.directory, search_line(run.directory, QUESTION)))


@app.command()
@with_options("track")
def explore(options: Options) -> None:
    """Try queries; write what each found and earned, and training files made from it. Trains nothing."""
    from lmtools.leret import api

    recipe = options.recipe or api.DEFAULT
    if options.dry_run:
        show_plan(api.plan(recipe, options.overrides(), train=False), options.json)
        return
    run = api.run_exploration(recipe, options.out, options.overrides(), **options.run())
    show_run(run, options.json, _files(run.directory, _learn(run.directory)))


@app.command(name="eval")
@with_options()
def evaluate(*, policy: PolicyRun = None, options: Options, lm_eval_out: LmEval = None) -> None:
    """Measure a trained policy against the question itself and the base model, hop by hop, with intervals."""
    from lmtools.leret import api

    trained = api.find_training(policy)
    recipe = options.recipe or str(trained / "recipe.yaml")
    if options.dry_run:
        show_plan(api.plan(recipe, options.overrides(), train=False), options.json)
        return
    run = api.run_evaluation(
        trained, options.out, options.overrides(), recipe=recipe, lm_eval_out=lm_eval_out, **options.run()
    )
    show_run(run, options.json, _files(run.directory, search_line(trained, QUESTION)))


@app.command()
def search(
    question: Annotated[
        str,
        typer.Argument(
            help="What you want to know, in quotes. Each hop costs one generation and one search, seconds."
        ),
    ],
    policy: PolicyRun = None,
    settings: Set = None,
    json: Json = False,
) -> None:
    """Search for a question with a trained policy: shows each hop's query and the passages it found."""
    from lmtools.leret import api
    from lmtools.leret.search import as_json, print_search

    hops = api.search(question, api.find_training(policy), settings or ())
    emit(as_json(hops), json)
    if not json:
        print_search(hops)


def show_plan(plan: "Plan", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.leret.dry_run import print_dry_run

    emit(plan, json)
    if not json:
        print_dry_run(plan)


def search_line(trained: Path, question: str) -> str:
    """The command that asks the policy of a training run."""
    return f"lmtools leret search {shlex.quote(question)} --policy {shlex.quote(str(trained))}"


def _files(directory: Path, following: str) -> str:
    return f"files: {directory}/   next: {following}"


def _learn(directory: Path) -> str:
    """What to do with an exploration: its files are what TRL trains on."""
    return f"trl sft or trl dpo with --dataset_name {shlex.quote(str(directory))}, as its README.md says"
