"""What the commands of `lmtools hyre` share: which trained run they work on, and how runs are made."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli import runs
from lmtools.cli.artefacts import of_ensemble
from lmtools.cli.lm_eval_out import write as write_lm_eval
from lmtools.core.errors import RunError
from lmtools.core.files import sha256_text
from lmtools.core.progress import say
from lmtools.models.recipes import load_model_recipe

if TYPE_CHECKING:
    from lmtools.core.results import Results
    from lmtools.core.run import Run
    from lmtools.core.tracking import Tracker
    from lmtools.hyre.recipe import HyreRecipe

DEFAULT = "hyre/quickstart"


def trained(directory: Path | None, root: Path = Path("runs")) -> Path | None:
    """The named trained run, or the one that was finished last; None where none is named and there is none.

    Raises:
        RunError: the named one is none.
    """
    if directory is not None:
        from lmtools.hyre.train import check_trained

        check_trained(directory)
        return directory
    written = (*root.glob("*/metrics.json"), *root.glob("*/hyre/metrics.json"))
    found = [path for path in written if (path.parent / "ensemble" / "ensemble.json").is_file()]
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def trained_or_new(directory: Path | None) -> Path:
    """The named trained run, or the last one, or else a new one by the default recipe."""
    found = trained(directory)
    if found is not None:
        return found
    say(f"no trained ensemble under runs/: training one on bundled pairs first ({DEFAULT})")
    from lmtools.hyre.recipe import HyreRecipe

    config = load_model_recipe(HyreRecipe, DEFAULT, default=DEFAULT)
    run, _ = train(config, DEFAULT, out=None, resume=False)
    return run


def train(
    config: "HyreRecipe",
    recipe: str,
    *,
    out: Path | None,
    resume: bool,
    track: "str | Tracker | None" = None,
) -> "tuple[Path, Results]":
    """Train ensembles to the end; gives the run's directory and what was measured in training."""
    from lmtools.hyre.commands import train as run_train
    from lmtools.hyre.inputs import prepare

    check_trainable(config)
    setup = prepare(config)
    with (
        closing(setup.reader),
        runs.open_run(
            "hyre",
            "train",
            config,
            inputs=setup.inputs,
            seed=config.seed,
            out=out,
            resume=resume,
            track=track,
        ) as run,  # fmt: skip
    ):
        results = run_train(setup, run, recipe)
        of_ensemble(run, config, results)
        run.finish(results)
        return run.directory, results


def check_trainable(config: "HyreRecipe") -> None:
    """Whether the recipe is for `lmtools hyre train`.

    Raises:
        RunError: it is for tables, whose ensembles are made and measured in one go.
    """
    if config.task != "preference":
        raise RunError(
            f"task: {config.task}: tables are trained on and measured in one go, their ensembles kept",
            fix="lmtools hyre eval --recipe FILE",
        )


def measure(
    config: "HyreRecipe",
    recipe: str,
    trained_run: Path | None,
    *,
    out: Path | None,
    resume: bool,
    track: "str | Tracker | None" = None,
    lm_eval_out: Path | None = None,
) -> "tuple[Path, Results]":
    """Measure a trained run, or train one in the same directory and measure that."""
    if config.task != "preference":
        return _measure_tables(config, recipe, out=out, resume=resume, track=track, lm_eval_out=lm_eval_out)
    from lmtools.hyre.commands import train_on_pairs
    from lmtools.hyre.evaluate import evaluate
    from lmtools.hyre.inputs import adapted_setup, prepare
    from lmtools.hyre.reward import check_backbone
    from lmtools.hyre.train import load_ensembles

    setup = prepare(config, train=trained_run is None, targets=True)
    inputs = setup.inputs if trained_run is None else {**setup.inputs, **ensemble_hashes(trained_run)}
    with (
        closing(setup.reader),
        runs.open_run(
            "hyre", "eval", config, inputs=inputs, seed=config.seed, out=out, resume=resume, track=track
        ) as run,
        ExitStack() as opened,
    ):
        if trained_run is None:
            setup = adapted_setup(setup, run)
            opened.callback(setup.reader.close)
            _, found = train_on_pairs(setup, run)
        else:
            found = load_ensembles(trained_run, config)
            check_backbone(found.main, setup.reader, trained_run)
        results = evaluate(setup, run, found, recipe)
        _finish(run, results, config, lm_eval_out)
        return run.directory, results


def _measure_tables(
    config: "HyreRecipe",
    recipe: str,
    *,
    out: Path | None,
    resume: bool,
    track: "str | Tracker | None",
    lm_eval_out: Path | None,
) -> "tuple[Path, Results]":
    from lmtools.data.sources import source_hash
    from lmtools.hyre.tabular import measure_tables, read_tables

    data = read_tables(config)
    inputs = {source: source_hash(source) for source in config.data.tables}
    with runs.open_run(
        "hyre", "eval", config, inputs=inputs, seed=config.seed, out=out, resume=resume, track=track,
        precision={},  # tables meet no language model
    ) as run:  # fmt: skip
        results = measure_tables(data, config, run, recipe)
        _finish(run, results, config, lm_eval_out)
        return run.directory, results


def _finish(run: "Run", results: "Results", config: "HyreRecipe", lm_eval_out: Path | None) -> None:
    """Figures and metrics; the metrics end the run."""
    if run.writes and results.rows:
        from lmtools.report.label_curves import write_label_curves

        write_label_curves(results, run.path("plots"), f"hyre/{config.name}", config.task)
    run.finish(results)
    write_lm_eval(lm_eval_out, run, results, config.model, "hyre", config.eval.resamples)


def ensemble_hashes(run: Path) -> dict[str, str]:
    """SHA-256 of every ensemble of a trained run."""
    from lmtools.models.files import fingerprint

    folders = sorted(path.parent for path in run.rglob("ensemble.json"))
    return {str(folder): sha256_text(fingerprint(folder)) for folder in folders}
