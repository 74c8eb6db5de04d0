"""`lmtools eval reward` from the shell."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli import runs
from lmtools.cli.hyre_run import ensemble_hashes, trained, trained_or_new
from lmtools.cli.lm_eval_out import write as write_lm_eval
from lmtools.cli.output import emit
from lmtools.core.dry_run import say_model
from lmtools.core.errors import RecipeError
from lmtools.core.files import sha256_file
from lmtools.core.progress import say
from lmtools.models.precision import describe_precision

if TYPE_CHECKING:
    from lmtools.hyre.recipe import RewardRecipe
    from lmtools.models.spec import ModelSpec

DEFAULT = "hyre/reward"


def measure_reward(
    config: "RewardRecipe",
    recipe: str,
    *,
    out: Path | None,
    resume: bool,
    json: bool,
    track: str | None = None,
    lm_eval_out: Path | None = None,
) -> None:
    """Measure a reward model to the end."""
    from lmtools.data.sources import source_hash
    from lmtools.hyre.adapt import weights_file
    from lmtools.hyre.reward import margins, read_pairs, rows
    from lmtools.hyre.session import PAIRS, keep_margins
    from lmtools.models.files import model_hashes

    check(config)
    pairs = read_pairs(config)
    run = None if config.model is not None else trained_or_new(Path(config.run) if config.run else None)
    inputs = {config.pairs: source_hash(config.pairs)}
    if config.model is not None:
        inputs |= model_hashes(config.model)
    elif run is not None:
        inputs |= ensemble_hashes(run)
    model = config.model or backbone(run)
    if config.weights:
        inputs[config.weights] = sha256_file(weights_file(Path(config.weights)))
    with runs.open_run(
        "eval", "reward", config, inputs=inputs, seed=config.seed, out=out, resume=resume, track=track,
        precision={"model": describe_precision(model)},
    ) as measured:  # fmt: skip
        with measured.stage("rewards"):
            read, found = margins(config, run, pairs)
        keep_margins(measured.path(PAIRS), read, found)
        results = measured.results(recipe, rows(name_of(config), found, config))
        measured.finish(results)
        write_lm_eval(lm_eval_out, measured, results, model, "reward", config.resamples, limit=config.limit)
        shown = list(results.rows[0].metrics)
        for name in shown:
            value = results.rows[0].metrics[name]
            say(f"{name:<32} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]  n = {value.n}")
        say(f"\nfiles: {measured.directory}/   (metrics.json)")
        emit({"run": str(measured.directory), **asdict(results)}, json)


def backbone(run: Path | None) -> "ModelSpec":
    """The model whose features a trained run's ensemble takes."""
    from lmtools.hyre.reward import trained_recipe

    assert run is not None
    return trained_recipe(run).model


def name_of(config: "RewardRecipe") -> str:
    """The row's name: the model, or which part of the ensemble was measured."""
    if config.model is not None:
        return config.model.name
    return "hyre" if config.weights else "single-head"


def check(config: "RewardRecipe") -> None:
    """Whether the recipe names one thing to measure.

    Raises:
        RecipeError: it names two, or weights without a run's ensemble.
    """
    if config.model is not None and (config.run or config.weights):
        raise RecipeError(
            "a model, and a run or weights: which of them is to be measured?",
            fix="give either --model NAME, or --run RUN and --weights FILE",
        )


def show_reward_plan(config: "RewardRecipe", json: bool) -> None:
    """``--dry-run``: what is measured on how many pairs; loads no weights."""
    from lmtools.hyre.reward import read_pairs

    check(config)
    pairs = {name: len(own) for name, own in read_pairs(config).items()}
    run = None if config.model is not None else trained(Path(config.run) if config.run else None)
    model = config.model or (backbone(run) if run is not None else None)
    precision = None if model is None else describe_precision(model)
    emit({"model": name_of(config), "run": run, "pairs": pairs, "precision": precision}, json)
    say(f"{name_of(config)} is measured on {sum(pairs.values())} pairs of {len(pairs)} distributions: "
        + ", ".join(f"{name} {count}" for name, count in pairs.items()))  # fmt: skip
    say_model(precision, None)
    if config.model is None and run is None:
        say("no trained ensemble under runs/: one would be trained first")
