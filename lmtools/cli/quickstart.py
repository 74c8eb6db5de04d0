"""``lmtools quickstart``: the built-in model on the bundled data, from nothing to a measured improvement."""

from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.leret_run import open_run, read_recipe, search_line, show_plan
from lmtools.cli.options import Backend, DryRun, Json, Model, Out, Resume, Seed, Set
from lmtools.cli.runs import finish
from lmtools.core.progress import say

if TYPE_CHECKING:
    from lmtools.core.results import Results

RECIPE = "leret/quickstart"


def quickstart(
    settings: Set = None,
    model: Model = None,
    backend: Backend = None,
    out: Out = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    json: Json = False,
    resume: Resume = False,
) -> None:
    """Train a query writer on the bundled questions and measure it: under 10 minutes on two CPU cores.

    A quickstart that was interrupted is continued, with or without --resume.
    """
    from lmtools.leret.setup import check_trainable

    recipe = read_recipe(RECIPE, settings, model, backend, seed)
    check_trainable(recipe)
    if dry_run:
        show_plan(recipe, json)
        return
    from lmtools.leret.commands import train

    say("LeReT: a small language model learns to write search queries by trying them.")
    say(f"Fetching the model {recipe.model.name} if it is not there yet ...")
    with open_run("quickstart", recipe, out, resume, pick_up=True) as (setup, run):
        say(
            f"{len(setup.train)} questions to learn from, {len(setup.test)} to measure on; "
            f"files go to {run.directory}/"
        )
        results = train(setup, run, RECIPE)
        finish(run, results, json, _closing(results, run.directory, setup.test[0].question))


def _closing(results: "Results", directory: Path, question: str) -> str:
    """What was found, where the files are, and how to use the policy."""
    from lmtools.leret.summary import finding, last_recall

    found = finding(results, last_recall(results)) if results.rows else ""
    return (
        f"{found}\n\nEverything is in {directory}/: what was tried (samples.jsonl), what was learnt from it "
        f"(sft.jsonl), the policy (policy/) and the figures (metrics.json).\n"
        f"Ask it something:\n  {search_line(directory, question)}"
    )
