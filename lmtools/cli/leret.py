"""``lmtools leret``: explore, train, eval, search."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.artefacts import of_exploration, of_last_run, of_policy, policy_files, push
from lmtools.cli.leret_run import DEFAULT, open_run, read_recipe, search_line, show_plan
from lmtools.cli.lm_eval_out import write as write_lm_eval
from lmtools.cli.options import (
    Backend,
    DryRun,
    Json,
    LmEval,
    Merge,
    Model,
    Out,
    Public,
    PushToHub,
    Recipe,
    Resume,
    Seed,
    Set,
    Track,
    emit,
)
from lmtools.cli.runs import finish
from lmtools.core.errors import RunError
from lmtools.core.recipe import recipe_system
from lmtools.core.run import wrong_run

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
    merge: Merge = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
) -> None:
    """Explore, train and measure a query-writing policy; about 8 minutes as it stands, on two CPU cores."""
    from lmtools.leret.inputs import check_trainable

    config = read_recipe(recipe, settings, model, backend, seed)
    check_trainable(config)
    if dry_run:
        show_plan(config, json)
        return
    from lmtools.leret.commands import train as run_train

    out = of_last_run("leret", "train", out, resume, merge or push_to_hub is not None)
    with open_run("train", config, out, resume, track=track) as (setup, run):
        results = run_train(setup, run, recipe or DEFAULT)
        of_policy(run, config, results, merge)
        closing = _files(run.directory, search_line(run.directory, QUESTION))
        pushed = partial(push, push_to_hub, public, partial(policy_files, run.directory, merge))
        finish(run, results, json, closing, push=pushed)


@app.command()
def explore(
    recipe: Recipe = None,
    settings: Set = None,
    model: Model = None,
    backend: Backend = None,
    out: Out = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    json: Json = False,
    resume: Resume = False,
) -> None:
    """Try queries; write what each found and earned, and training files made from it. Trains nothing."""
    config = read_recipe(recipe, settings, model, backend, seed)
    if dry_run:
        show_plan(config, json)
        return
    from lmtools.leret.commands import explore as run_explore

    with open_run("explore", config, out, resume) as (setup, run):
        results = run_explore(setup, run, recipe or DEFAULT)
        of_exploration(run, config)
        finish(run, results, json, _files(run.directory, _learn(run.directory)))


@app.command(name="eval")
def evaluate(
    policy: PolicyRun = None,
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
    """Measure a trained policy against the question itself and the base model, hop by hop, with intervals."""
    trained = training_run(policy)
    recipe = recipe or str(trained / "recipe.yaml")
    config = read_recipe(recipe, settings, model, backend, seed)
    if dry_run:
        show_plan(config, json)
        return
    from lmtools.leret.commands import evaluate as run_evaluate

    with open_run("eval", config, out, resume, trained=trained, track=track) as (setup, run):
        results = run_evaluate(setup, run, trained, recipe)
        write_lm_eval(lm_eval_out, run, results, config.model, "leret", config.eval.resamples)
        finish(run, results, json, _files(run.directory, search_line(trained, QUESTION)))


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
    trained = training_run(policy)
    # A policy writes at whatever precision: this machine's own, not that of the one it was trained on.
    config = read_recipe(str(trained / "recipe.yaml"), ["model.dtype=auto", *(settings or [])])
    from lmtools.leret.search import as_json, print_search, search_once

    found = search_once(config, trained, question)
    emit(as_json(found), json)
    if not json:
        print_search(found)


def training_run(directory: Path | None) -> Path:
    """The named training run, or the last one.

    Raises:
        RunError: it is none, or none is named and there is none.
    """
    if directory is None:
        return last_training()
    recipe = directory / "recipe.yaml"
    if not recipe.is_file() or recipe_system(recipe) not in ("leret", ""):
        raise wrong_run(directory, "trained policy", "leret train")
    return directory


def last_training(root: Path = Path("runs")) -> Path:
    """The training run whose policy was finished last.

    Raises:
        RunError: there is none.
    """
    policies = sorted(root.glob("*/policy"), key=lambda path: path.stat().st_mtime)
    if not policies:
        raise RunError(f"no trained policy under {root}/", fix="train one: lmtools leret train")
    return policies[-1].parent


def _files(directory: Path, following: str) -> str:
    return f"files: {directory}/   next: {following}"


def _learn(directory: Path) -> str:
    """What to do with an exploration: its files are what TRL trains on."""
    return f"trl sft or trl dpo with --dataset_name {shlex.quote(str(directory))}, as its README.md says"
