"""``lmtools quickstart``: the built-in model on the bundled data, from nothing to measured improvements."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.invocation import as_called
from lmtools.cli.leret import search_line
from lmtools.cli.options import Options, command_line, overrides, with_options
from lmtools.cli.output import emit, show_results
from lmtools.core.progress import at_pace, say, working
from lmtools.core.run import METRICS, Run
from lmtools.core.tracking import PartTracker
from lmtools.models.recipes import load_model_recipe

if TYPE_CHECKING:
    from lmtools.ats.recipe import AtsRecipe
    from lmtools.calibration.recipe import CalibrationRecipe
    from lmtools.core.results import Results
    from lmtools.hyre.recipe import HyreRecipe
    from lmtools.leret.recipe import LeretRecipe
    from lmtools.models.spec import ModelSpec

RECIPE, FIT, MEASUREMENT = "leret/quickstart", "ats/quickstart", "calibration/quickstart"
ENSEMBLE, LABELS = "hyre/quickstart", 5
PARTS = ("ats.", "calibration.", "hyre.")
"""What ``--set`` begins with where it is not for the LeReT recipe."""


@with_options("recipe")
def quickstart(options: Options) -> None:
    """A query writer, honest probabilities, a reward model for each user: under 15 minutes on two CPU cores.

    `--set` changes the recipe leret/quickstart; with `ats.`, `calibration.` or `hyre.` before the key, that
    of the other parts. A quickstart that was interrupted is continued, with or without --resume.
    """
    from lmtools.leret.inputs import check_trainable
    from lmtools.leret.recipe import LeretRecipe

    settings = options.settings or []
    leret_settings = [setting for setting in settings if not setting.startswith(PARTS)]
    changes = overrides(leret_settings, options.model, options.backend, options.seed)
    recipe = load_model_recipe(LeretRecipe, RECIPE, changes, default=RECIPE)
    check_trainable(recipe)
    # All recipes are read before the first part begins: a mistake in the last is told at once.
    shared = overrides((), options.model, None, options.seed)
    fit, measurement = _read_second(settings, shared)
    ensemble = _read_third(settings, shared)
    if options.dry_run:
        _show_plans(recipe, fit, measurement, ensemble, options.json)
        return
    from lmtools.ats.recipe import method_name
    from lmtools.leret import api
    from lmtools.leret.card import write_cards
    from lmtools.leret.inputs import prepare
    from lmtools.leret.processes import agree
    from lmtools.runs import open_run

    say("LeReT: a small language model learns to write search queries by trying them.")
    _read_later_inputs(fit, measurement, ensemble)
    say(f"Fetching the model {recipe.model.name} if it is not there yet ...")
    inputs = prepare(recipe)
    with (
        open_run(
            "leret", "quickstart", recipe, inputs=inputs.hashes, seed=recipe.seed, out=options.out,
            pick_up=True, agree=agree, **options.run(),
        ) as run,
        foreseeing(run, recipe.model),
    ):  # fmt: skip
        say(
            f"{len(inputs.train)} questions to learn from, {len(inputs.test)} to measure on; "
            f"files go to {run.directory}/"
        )
        results = api.train(inputs, run, RECIPE)
        show_results(results, _searching(run.directory, inputs.test[0].question))
        if not run.writes:
            return
        measured = _calibrate(run, fit, measurement)
        say(_calibrated(measured, method_name(fit.head.kind, fit.loss.name), run.directory))
        personal = _personalise(run, ensemble)
        write_cards(run, recipe, results)
        run.finish(results)
        say(_personalised(personal, ensemble.name, run.directory))
        parts = {"ats": asdict(measured), "hyre": asdict(personal)}
        emit({"run": str(run.directory), **asdict(results), **parts}, options.json)


@contextmanager
def foreseeing(run: Run, model: "ModelSpec") -> Iterator[None]:
    """Time a few batches first, so that every stage inside can say what it will take on this machine."""
    from lmtools.generation.pace import measure_pace

    if not run.writes or run.path(METRICS).exists():  # nothing is left to compute
        yield
        return
    with working("timing a few batches"):
        pace = measure_pace(model)
    with at_pace(pace):
        yield


def _read_second(settings: Sequence[str], options: Sequence[str]) -> "tuple[AtsRecipe, CalibrationRecipe]":
    """The recipes of the second part, read before the first begins: both measure the same model."""
    from lmtools.ats.recipe import AtsRecipe
    from lmtools.calibration.recipe import CalibrationRecipe

    fit = load_model_recipe(AtsRecipe, FIT, _part("ats.", settings, options), default=FIT)
    given = [f"model={fit.model.model_dump_json()}", *_part("calibration.", settings, options)]
    return fit, load_model_recipe(CalibrationRecipe, MEASUREMENT, given, default=MEASUREMENT)


def _read_third(settings: Sequence[str], options: Sequence[str]) -> "HyreRecipe":
    """The recipe of the third part."""
    from lmtools.hyre.recipe import HyreRecipe

    return load_model_recipe(HyreRecipe, ENSEMBLE, _part("hyre.", settings, options), default=ENSEMBLE)


def _read_later_inputs(fit: "AtsRecipe", measurement: "CalibrationRecipe", ensemble: "HyreRecipe") -> None:
    """The data of the parts after the first: what is missing or wrong in them is told at once, too.

    Raises:
        LmtoolsError: something is.
    """
    from lmtools.ats.inputs import read_instructions
    from lmtools.calibration.inputs import read_inputs
    from lmtools.hyre.pairs import read_targets, read_training

    read_instructions(fit)
    read_inputs(measurement)
    read_training(ensemble.data, ensemble.seed)
    read_targets(ensemble.data, ensemble.seed)


def _part(name: str, settings: Sequence[str], options: Sequence[str]) -> list[str]:
    """What the settings change in the part of that name, and the options that hold for all."""
    return [*(setting.removeprefix(name) for setting in settings if setting.startswith(name)), *options]


def _show_plans(
    recipe: "LeretRecipe",
    fit: "AtsRecipe",
    measurement: "CalibrationRecipe",
    ensemble: "HyreRecipe",
    json: bool,
) -> None:
    """``--dry-run``: the plan of LeReT, with the others under `ats`, `calibration` and `hyre`."""
    from lmtools.ats.dry_run import dry_run as plan_fit
    from lmtools.ats.dry_run import print_dry_run as print_fit
    from lmtools.calibration.dry_run import dry_run as plan_measurement
    from lmtools.calibration.dry_run import print_dry_run as print_measurement
    from lmtools.hyre.dry_run import dry_run as plan_ensemble
    from lmtools.hyre.dry_run import print_dry_run as print_ensemble
    from lmtools.leret.dry_run import dry_run, print_dry_run

    plans = dry_run(recipe), plan_fit(fit), plan_measurement(measurement)
    last = plan_ensemble(ensemble, targets=True)
    parts = {"ats": asdict(plans[1]), "calibration": asdict(plans[2]), "hyre": asdict(last)}
    emit({**asdict(plans[0]), **parts}, json)
    if not json:
        print_dry_run(plans[0])
        print_fit(plans[1])
        print_measurement(plans[2])
        print_ensemble(last)


def _calibrate(whole: Run, recipe: "AtsRecipe", measurement: "CalibrationRecipe") -> "Results":
    """Fit a temperature head and measure it, in folders of the run."""
    from lmtools.ats import api
    from lmtools.cli.eval import print_tables

    say("\nATS: a small head learns when the model's next word is a guess, and lowers its confidence there.")
    fitted = api.run_fit(
        recipe, whole.path("ats"), name=FIT, resume=True, track=PartTracker(whole.tracker, "ats"),
        command=command_line(),
    ).directory  # fmt: skip
    measured = api.run_evaluation(
        fitted, whole.path("ats-eval"), recipe=measurement, name=MEASUREMENT, resume=True,
        track=PartTracker(whole.tracker, "ats-eval"), command=command_line(),
    )  # fmt: skip
    print_tables(measured.results)
    return measured.results


def _personalise(whole: Run, recipe: "HyreRecipe") -> "Results":
    """Train an ensemble on the pairs of a crowd, measure it on every persona, and keep weights for each."""
    from lmtools.hyre import api

    say("\nHyRe: reward heads learn from a crowd; five labelled pairs then say which of them a user is like.")
    trained = api.run_training(
        recipe, whole.path("hyre"), name=ENSEMBLE, resume=True, track=PartTracker(whole.tracker, "hyre"),
        command=command_line(),
    ).directory  # fmt: skip
    measured = api.run_evaluation(
        trained, whole.path("hyre-eval"), name=ENSEMBLE, resume=True,
        track=PartTracker(whole.tracker, "hyre-eval"), command=command_line(),
    )  # fmt: skip
    api.adapt_targets(trained, whole.path("hyre-weights"), LABELS)
    return measured.results


def _personalised(measured: "Results", ensemble: str, directory: Path) -> str:
    """What five pairs of each persona are worth, where it was measured, and what to do with the weights."""
    rows = {row.name: row.metrics for row in measured.rows}
    after, before = rows.get(f"hyre/{ensemble} @{LABELS}", {}), rows.get("single-head @0", {})
    lines = [
        f"{name.removesuffix('/accuracy')}: {100 * before[name].value:.0f} % of pairs in this user's order "
        f"with one reward model for all, {100 * value.value:.0f} % with five labelled pairs."
        for name, value in after.items()
        if name.endswith("/accuracy") and name in before
    ]
    kept = sorted((directory / "hyre-weights").glob("*.json"))
    weights = next((path for path in kept if path.stem == "short"), kept[0] if kept else "WEIGHTS")
    command = f"lmtools generate --prompt 'What is an atom?' --best-of 4 --reward {directory}/hyre"
    return as_called("\n".join([*lines, f"For one user:\n  {command} --weights {weights}"]))


def _searching(directory: Path, question: str) -> str:
    """Where the files are, and how to use the policy."""
    return (
        f"Everything is in {directory}/: what was tried (samples.jsonl), what was learnt from "
        f"it (sft.jsonl), the policy (policy/) and the figures (metrics.json).\n"
        f"Ask it something:\n  {search_line(directory, question)}"
    )


def _calibrated(measured: "Results", head: str, directory: Path) -> str:
    """How far confidence was from being right, before and after; without words for a method not measured."""
    rows = {row.name: row.metrics for row in measured.rows}
    before, after = rows.get("uncalibrated", {}), rows.get(head, {})
    lines = [
        f"{name.removesuffix('/ece')}: confidence missed the share of right answers by "
        f"{100 * before[name].value:.0f} points, and by {100 * after[name].value:.0f} with the head."
        for name in before
        if name.endswith("/ece") and name in after
    ]
    return "\n".join([*lines, f"Reliability diagrams: {directory}/ats-eval/plots/"])
