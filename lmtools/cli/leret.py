"""``lmtools leret``: explore, train, eval, search."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lmtools.cli.options import (
    Backend,
    BackendName,
    DryRun,
    Json,
    Model,
    Out,
    Recipe,
    Resume,
    Seed,
    Set,
    emit,
    overrides,
)
from lmtools.core.errors import RunError
from lmtools.core.progress import say
from lmtools.core.recipe import load_recipe
from lmtools.core.run import Run, default_out

DEFAULT = "leret/quickstart"
app = typer.Typer(no_args_is_help=True, help="Learn to write search queries by trying them.")
PolicyRun = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="RUN", help="A training run; without it, the last finished one under runs/."
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
) -> None:
    """Explore, train and measure a query-writing policy; about 8 minutes as it stands, on two CPU cores."""
    config = _recipe(recipe, settings, model, backend, seed)
    if dry_run:
        _dry_run(config, json)
        return
    from lmtools.leret.commands import train as run_train

    with _run("train", config, out, resume) as (setup, run):
        results = run_train(setup, run, recipe or DEFAULT)
        _finish(run, results, json, f"lmtools leret search QUESTION --policy {run.directory}")


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
    config = _recipe(recipe, settings, model, backend, seed)
    if dry_run:
        _dry_run(config, json)
        return
    from lmtools.leret.commands import explore as run_explore

    with _run("explore", config, out, resume) as (setup, run):
        results = run_explore(setup, run, recipe or DEFAULT)
        _finish(run, results, json, f"trl dpo --dataset_name {run.directory}/preferences.jsonl ...")


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
) -> None:
    """Measure a trained policy against the question itself and the base model, hop by hop, with intervals."""
    trained = policy or last_training()
    config = _recipe(recipe or str(trained / "recipe.yaml"), settings, model, backend, seed)
    if dry_run:
        _dry_run(config, json)
        return
    from lmtools.leret.commands import evaluate as run_evaluate

    with _run("eval", config, out, resume, trained) as (setup, run):
        results = run_evaluate(setup, run, trained, recipe or str(trained / "recipe.yaml"))
        _finish(run, results, json, f"lmtools leret search QUESTION --policy {trained}")


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    policy: PolicyRun = None,
    settings: Set = None,
    json: Json = False,
) -> None:
    """Search for a question with a trained policy: shows each hop's query and the passages it found."""
    trained = policy or last_training()
    config = _recipe(str(trained / "recipe.yaml"), settings, None, None, None)
    from lmtools.leret.search import as_json, print_search, search_once

    found = search_once(config, trained, question)
    emit(as_json(found), json)
    if not json:
        print_search(found)


def last_training(root: Path = Path("runs")) -> Path:
    """The training run whose policy was finished last.

    Raises:
        RunError: there is none.
    """
    policies = sorted(root.glob("*/policy"), key=lambda path: path.stat().st_mtime)
    if not policies:
        raise RunError(f"no trained policy under {root}/", fix="train one: lmtools leret train")
    return policies[-1].parent


def _recipe(
    ref: str | None,
    settings: list[str] | None,
    model: str | None,
    backend: BackendName | None,
    seed: int | None,
) -> Any:
    from lmtools.leret.recipe import LeretRecipe

    return load_recipe(LeretRecipe, ref, overrides(settings, model, backend, seed), default=DEFAULT)


def _run(action: str, config: Any, out: Path | None, resume: bool, trained: Path | None = None) -> Any:
    from contextlib import contextmanager

    from lmtools.leret.processes import agree
    from lmtools.leret.setup import policy_hash, prepare

    @contextmanager
    def opened() -> Any:
        directory = out or Path(agree(lambda: str(default_out("leret", action, resume=resume))))
        policy = policy_hash(trained) if trained else {}
        setup = prepare(config)
        command = ["lmtools", *sys.argv[1:]]
        inputs = {**setup.inputs, **policy}
        with Run.create(
            directory, config, command=command, inputs=inputs, resume=resume, seed=config.seed
        ) as run:
            yield setup, run

    return opened()


def _dry_run(config: Any, json: bool) -> None:
    from lmtools.leret.dry_run import dry_run, print_dry_run

    plan = dry_run(config)
    emit(plan, json)
    if not json:
        print_dry_run(plan)


def _finish(run: Run, results: Any, json: bool, following: str) -> None:
    from lmtools.leret.summary import print_table

    run.finish(results)
    print_table(results)
    say(f"\nfiles: {run.directory}/   next: {following}")
    if json:
        from dataclasses import asdict

        emit({"run": str(run.directory), **asdict(results)}, True)
