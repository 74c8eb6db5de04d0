"""``lmtools quickstart``: the built-in model on the bundled data, from nothing to a measured improvement."""

import sys
from dataclasses import asdict
from pathlib import Path

from lmtools.cli.options import Json, Out, Resume, Seed, emit, overrides
from lmtools.core.progress import say
from lmtools.core.recipe import load_recipe
from lmtools.core.run import Run, default_out

RECIPE = "leret/quickstart"


def quickstart(out: Out = None, seed: Seed = None, json: Json = False, resume: Resume = False) -> None:
    """Train a query writer on the bundled questions and measure it: under 10 minutes on two CPU cores."""
    from lmtools.leret.commands import train
    from lmtools.leret.recipe import LeretRecipe
    from lmtools.leret.setup import prepare
    from lmtools.leret.summary import finding, last_recall, print_table
    from lmtools.models.load import resolve

    recipe = load_recipe(LeretRecipe, None, overrides(None, seed=seed), default=RECIPE)
    directory = out or default_out("leret", "quickstart", resume=resume)
    say("LeReT: a small language model learns to write search queries by trying them.")
    say(f"Fetching the model {recipe.model.name} if it is not there yet ...")
    resolve(recipe.model)
    setup = prepare(recipe)
    say(
        f"{len(setup.train)} questions to learn from, {len(setup.test)} to measure on; "
        f"files go to {directory}/"
    )
    command = ["lmtools", *sys.argv[1:]]
    with Run.create(
        directory, recipe, command=command, inputs=setup.inputs, resume=resume, seed=recipe.seed
    ) as run:
        results = train(setup, run, RECIPE)
        run.finish(results)
    print_table(results)
    say("\n" + finding(results, last_recall(results)))
    say(_where(directory, setup.test[0].question))
    emit({"run": str(directory), **asdict(results)}, json)


def _where(directory: Path, question: str) -> str:
    return (
        f"\nEverything is in {directory}/: what was tried (samples.jsonl), what was learnt from it "
        f"(sft.jsonl), the policy (policy/) and the figures (metrics.json).\n"
        f"Ask it something:\n  lmtools leret search {question!r} --policy {directory}"
    )
