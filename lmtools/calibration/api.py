"""Calibration's front door: `lmtools eval calibration` as one function that does the whole of it.

    run_evaluation    ask, score, measure; plots, page, lm-eval files        `lmtools eval calibration`
    plan              check everything and estimate the work                 `--dry-run`

This package does not know what a recipe's ``head`` is. ``lmtools.ats.api`` does, and passes an
``open_head`` that says what can be measured of a fitted run, and how that is loaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

from lmtools.calibration.dry_run import Plan, dry_run
from lmtools.calibration.evaluate import PREDICTIONS, evaluate_calibration, lm_eval_samples, shots
from lmtools.calibration.inputs import CalibrationInputs, prepare
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.scoring import GeneratorScorer, Scorer, ScorerSource
from lmtools.core.errors import RecipeError
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.data.predictions import read_predictions
from lmtools.generation.open import open_generator
from lmtools.models.recipes import named_recipe
from lmtools.report.calibration_plots import write_plots
from lmtools.runs import FinishedRun, RunOptions, finish, open_run, write_lm_eval

DEFAULT = "calibration/quickstart"
PLOTS = "plots"


@dataclass(frozen=True, kw_only=True)
class CalibrationRun(FinishedRun):
    """A finished measurement; ``recipe`` is the one it was made with."""

    recipe: CalibrationRecipe


OpenHead = Callable[[CalibrationRecipe], ScorerSource]
"""What can be measured of the fitted run that a recipe's ``head`` names."""


def no_head(recipe: CalibrationRecipe) -> ScorerSource:
    """The ``OpenHead`` of this package alone.

    Raises:
        RecipeError: always.
    """
    raise RecipeError(
        f"head: {recipe.head} is a run of `lmtools ats fit`",
        fix="measure it with lmtools.ats.run_evaluation, or leave head out",
    )


def run_evaluation(
    recipe: CalibrationRecipe | str = DEFAULT, out: Path | str | None = "runs/eval-calibration",
    settings: Sequence[str] = (), *, name: str | None = None, lm_eval_out: Path | None = None,
    open_head: OpenHead = no_head, system: str = "eval", action: str = "calibration",
    **options: Unpack[RunOptions],
) -> CalibrationRun:  # fmt: skip
    """Measure whether a model is right as often as it is sure: `lmtools eval calibration`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory; None: a new one under runs/.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        name: what the results call the recipe; None: as it is named here.
        lm_eval_out: also write results and samples there as lm-evaluation-harness lays them out.
        open_head: how a fitted run is opened, for recipes that name one.
        system, action: whose run directory it is, and of which command.
        options: those of every run (``lmtools.runs.RunOptions``): ``resume``, ``track``.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.
    """
    title, config = named_recipe(CalibrationRecipe, recipe, settings, default=DEFAULT)
    source = scorer_source(config, open_head)
    inputs = prepare(config, source.methods)
    options.setdefault("command", ["lmtools.calibration.api.run_evaluation", title, *settings])
    hashes = {**inputs.hashes, **source.hashes}
    with open_run(system, action, config, inputs=hashes, seed=config.seed, out=out, **options) as run:
        results = evaluate_calibration(inputs, run, source.open, name or title)
        if run.writes and results.rows:
            write_plots(run.path(PREDICTIONS), results, run.path(PLOTS))
        finish(run, results)
        if lm_eval_out is not None:
            _write_lm_eval(lm_eval_out, inputs, run, results)
        return CalibrationRun(run.directory, results, recipe=config)


def plan(
    recipe: CalibrationRecipe | str = DEFAULT, settings: Sequence[str] = (), *, open_head: OpenHead = no_head
) -> Plan:
    """Check everything, render one real question of each task, count the work; loads no weights: `--dry-run`.

    Raises:
        LmtoolsError: as the run itself would, as far as it can be told.
    """
    _, config = named_recipe(CalibrationRecipe, recipe, settings, default=DEFAULT)
    source = scorer_source(config, open_head)
    return dry_run(config, source.methods, source.check)


def scorer_source(recipe: CalibrationRecipe, open_head: OpenHead = no_head) -> ScorerSource:
    """What a recipe measures: its model alone, under the name that it gives it, or every method of a head."""
    if recipe.head is not None:
        return open_head(recipe)
    return ScorerSource((recipe.method,), partial(_open_model, recipe))


def _open_model(recipe: CalibrationRecipe) -> Scorer:
    return GeneratorScorer(open_generator(recipe.model, float32_logits=True), recipe.method)


def _write_lm_eval(directory: Path, inputs: CalibrationInputs, run: Run, results: Results) -> None:
    """The results for the harness's readers, with every answer as a sample."""
    if not run.path(PREDICTIONS).exists():
        return
    recipe = inputs.recipe
    samples = lm_eval_samples(inputs.tasks, inputs.rendering, read_predictions(run.path(PREDICTIONS)))
    write_lm_eval(
        directory, run, results, recipe.model, "calibration", recipe.resamples, samples=samples,
        limit=recipe.limit, chat=recipe.chat, shots=shots(inputs.tasks),
    )  # fmt: skip
