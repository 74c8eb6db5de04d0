"""``lmtools quickstart``: the built-in model on the bundled data, from nothing to measured improvements."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.leret_run import open_run, read_recipe, search_line, show_plan
from lmtools.cli.options import Backend, DryRun, Json, Model, Out, Resume, Seed, Set, emit, overrides
from lmtools.cli.runs import ending
from lmtools.core.progress import say

if TYPE_CHECKING:
    from lmtools.core.results import Results

RECIPE, FIT, MEASUREMENT = "leret/quickstart", "ats/quickstart", "calibration/quickstart"
PARTS = ("ats.", "calibration.")
"""What ``--set`` begins with where it is not for the LeReT recipe."""


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
    """Train a query writer, then make the model's probabilities honest: under 15 minutes on two CPU cores.

    `--set` changes the recipe leret/quickstart; with `ats.` or `calibration.` before the key, that of the
    second part. A quickstart that was interrupted is continued, with or without --resume.
    """
    from lmtools.leret.setup import check_trainable

    own = [setting for setting in settings or () if not setting.startswith(PARTS)]
    recipe = read_recipe(RECIPE, own, model, backend, seed)
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
        ending(results, _searching(results, run.directory, setup.test[0].question))
        measured = _calibrate(run.directory, settings or (), overrides((), model, None, seed))
        run.finish(results)
        say(_calibrated(measured, run.directory))
        emit({"run": str(run.directory), **asdict(results), "ats": asdict(measured)}, json)


def _calibrate(directory: Path, settings: Sequence[str], options: Sequence[str]) -> "Results":
    """Fit a temperature head and measure it, in folders of the run."""
    from lmtools.ats.commands import fit
    from lmtools.ats.recipe import AtsRecipe
    from lmtools.ats.setup import prepare
    from lmtools.calibration.recipe import CalibrationRecipe
    from lmtools.cli import eval_run, runs
    from lmtools.core.recipe import load_recipe

    def part(name: str) -> list[str]:
        return [one.removeprefix(name) for one in settings if one.startswith(name)] + list(options)

    say("\nATS: a small head learns when the model's next word is a guess, and lowers its confidence there.")
    recipe = load_recipe(AtsRecipe, FIT, part("ats."), default=FIT)
    setup, fitted = prepare(recipe), directory / "ats"
    with runs.open_run(
        "ats", "fit", recipe, inputs=setup.inputs, seed=recipe.seed, out=fitted, resume=True
    ) as run:
        run.finish(fit(setup, run, FIT))
    given = [*eval_run.fitted_model(fitted), *part("calibration.")]
    config = load_recipe(CalibrationRecipe, MEASUREMENT, given, default=MEASUREMENT)
    folder = directory / "ats-eval"
    with eval_run.measurement("ats", "eval", config, MEASUREMENT, out=folder, resume=True) as (_, measured):
        return measured


def _searching(results: "Results", directory: Path, question: str) -> str:
    """What LeReT found, where the files are, and how to use the policy."""
    from lmtools.leret.summary import finding, last_recall

    found = finding(results, last_recall(results)) if results.rows else ""
    return (
        f"{found}\n\nEverything is in {directory}/: what was tried (samples.jsonl), what was learnt from it "
        f"(sft.jsonl), the policy (policy/) and the figures (metrics.json).\n"
        f"Ask it something:\n  {search_line(directory, question)}"
    )


def _calibrated(measured: "Results", directory: Path) -> str:
    """How far confidence was from being right, before and after."""
    before, after = (measured.row(name).metrics for name in ("uncalibrated", "transformer"))
    lines = [
        f"{name.removesuffix('/ece')}: confidence missed the share of right answers by "
        f"{100 * before[name].value:.0f} points, and by {100 * after[name].value:.0f} with the head."
        for name in before
        if name.endswith("/ece")
    ]
    return "\n".join([*lines, f"Reliability diagrams: {directory}/ats-eval/plots/"])
