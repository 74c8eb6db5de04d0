"""What ``--lm-eval-out DIR`` does, for every command that measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmtools.core.lm_eval import HarnessRun, write_lm_eval
from lmtools.core.progress import say

if TYPE_CHECKING:
    from lmtools.calibration.inputs import Setup
    from lmtools.core.results import Results
    from lmtools.core.run import Run
    from lmtools.models.spec import ModelSpec


def write(
    directory: Path | None,
    run: "Run",
    results: "Results",
    model: "ModelSpec",
    whole: str,
    resamples: int,
    *,
    samples: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    **more: Any,
) -> None:
    """Write a finished run's results for the harness's readers; nothing where no directory was named.

    Args:
        whole: the task of metrics that are over several tasks, or that have none.
        samples: as ``write_lm_eval``.
        more: other fields of ``HarnessRun``.
    """
    if directory is None or not run.writes or not results.rows:
        return
    arguments = {"pretrained": model.name, "dtype": model.dtype, "device": model.device}
    if model.adapter:
        arguments["peft"] = model.adapter
    seconds = round(sum(run.manifest.stages.values()), 3)
    # Like the harness, which calls an adapter's results by the adapter.
    name = model.adapter or model.name
    ran = HarnessRun(name, model.backend, arguments, whole, resamples, seconds, **more)
    say(f"wrote {write_lm_eval(directory, results, ran, samples)}")


def write_calibration(directory: Path | None, setup: "Setup", run: "Run", results: "Results") -> None:
    """The same for a calibration measurement, with every answer as a sample."""
    if directory is None or not run.path("predictions.jsonl").exists():
        return
    from lmtools.calibration.lm_eval import lm_eval_samples, shots
    from lmtools.data.predictions import read_predictions

    recipe = setup.recipe
    predictions = read_predictions(run.path("predictions.jsonl"))
    write(
        directory,
        run,
        results,
        recipe.model,
        "calibration",
        recipe.resamples,
        samples=lm_eval_samples(setup.tasks, setup.rendering, predictions),
        limit=recipe.limit,
        chat=recipe.chat,
        shots=shots(setup.tasks),
    )
