"""ATS from Python: what `lmtools ats fit` does as a function, and a fitted run as a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.ats.recipe import AtsRecipe
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.models.precision import describe_precisions
from lmtools.models.recipes import load_model_recipe, named_recipe

if TYPE_CHECKING:
    from lmtools.generation.protocol import Generator
    from lmtools.models.load import LoadedModel

DEFAULT = "ats/quickstart"


def run_fit(
    recipe: AtsRecipe | str = DEFAULT, out: Path | str = "runs/ats-fit", settings: Sequence[str] = (),
    *, resume: bool = False,
) -> Results:  # fmt: skip
    """Fit a temperature head and the baselines of a recipe; the same as `lmtools ats fit`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        resume: continue the run in ``out``; a finished one is only read.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.

    >>> results = run_fit("my-ats.yaml", "runs/linear", ["head.kind=linear"])
    >>> results.row("linear").metrics["token-ece"].n > 0
    True
    """
    from lmtools.ats.commands import fit
    from lmtools.ats.inputs import prepare

    name, config = named_recipe(AtsRecipe, recipe, settings, default=DEFAULT)
    setup = prepare(config)
    command = ["lmtools.ats.run_fit", name, *settings]
    with Run.create(
        Path(out), config, command=command, inputs=setup.inputs, resume=resume, seed=config.seed,
        precision=describe_precisions(config),
    ) as run:  # fmt: skip
        results = fit(setup, run, name)
        run.finish(results)
    return results


def load_calibrated(run: Path | str) -> "LoadedModel":
    """The model of a fitted run with its head on it, for transformers: its logits are calibrated.

    Greedy text is the base model's; probabilities, and so sampled text, are not.

    Raises:
        ModelError: the run holds no head, its files are broken, or the model has changed.

    >>> loaded = load_calibrated("runs/ats-fit")
    >>> inputs = loaded.tokenizer("Which river", return_tensors="pt")
    >>> probabilities = loaded.model(**inputs).logits.softmax(dim=-1)
    >>> probabilities.shape[:2] == inputs.input_ids.shape
    True
    """
    from lmtools.ats.calibrated import calibrate
    from lmtools.models.load import load, may_merge

    spec = _recipe(run).model
    return calibrate(load(spec, merge=may_merge(spec), float32_logits=True), Path(run))


def open_calibrated_run(run: Path | str) -> "Generator":
    """The model of a fitted run as a generator: it completes, scores and weighs options, calibrated.

    Prompts are texts that carry the model's chat markup, where it wants any.

    Raises:
        ModelError: the run holds no head, its files are broken, or the model has changed.

    >>> generator = open_calibrated_run("runs/ats-fit")
    >>> [logprobs] = generator.options(["Which river? (A) Seine (B) Rhine. Answer: "], ["A", "B"])
    >>> len(logprobs)
    2
    >>> generator.close()
    """
    from lmtools.ats.calibrated import open_calibrated

    return open_calibrated(_recipe(run).model, Path(run))


def _recipe(run: Path | str) -> AtsRecipe:
    """The recipe that a run was made with; its model at this machine's own precision."""
    path = str(Path(run) / "recipe.yaml")
    return load_model_recipe(AtsRecipe, path, ["model.dtype=auto"], default=DEFAULT)
