"""LeReT from Python: what the commands do as functions, and a trained run as something that searches."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.leret import commands
from lmtools.leret.inputs import Setup, policy_hash, prepare
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.search import Searcher
from lmtools.models.precision import describe_precisions
from lmtools.models.recipes import load_model_recipe, named_recipe

DEFAULT = "leret/quickstart"


def run_training(
    recipe: LeretRecipe | str = DEFAULT, out: Path | str = "runs/leret-train", settings: Sequence[str] = (),
    *, resume: bool = False,
) -> Results:  # fmt: skip
    """Explore, train a query writer and measure it; the same as `lmtools leret train`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        resume: continue the run in ``out``; a finished one is only read.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.

    >>> results = run_training("my-leret.yaml", "runs/sft", ["train.preference.enabled=false"])
    >>> [row.name for row in results.rows]
    ['question-as-query', 'zero-shot base', 'SFT']
    """
    return _run("run_training", commands.train, recipe, out, settings, resume)


def run_exploration(
    recipe: LeretRecipe | str = DEFAULT, out: Path | str = "runs/leret-explore", settings: Sequence[str] = (),
    *, resume: bool = False,
) -> Results:  # fmt: skip
    """Try queries and write what each earned, and the training files; the same as `lmtools leret explore`.

    Arguments and errors are those of ``run_training``.

    >>> results = run_exploration("my-leret.yaml", "runs/tried")
    >>> 0 <= results.row("zero-shot").metrics["reward"].value <= 1
    True
    """
    return _run("run_exploration", commands.explore, recipe, out, settings, resume)


def run_evaluation(
    trained: Path | str, out: Path | str = "runs/leret-eval", settings: Sequence[str] = (),
    *, resume: bool = False,
) -> Results:  # fmt: skip
    """Measure the policy of a training run; the same as `lmtools leret eval`.

    Args:
        trained: the training run, whose recipe it is measured with.

    Other arguments and errors are those of ``run_training``.

    >>> results = run_evaluation("runs/leret-train", "runs/measured", ["eval.resamples=200"])
    >>> results.row("zero-shot base").metrics["recall@hop2"].n
    3
    """
    run_directory = Path(trained)

    def measure(setup: Setup, run: Run, name: str) -> Results:
        return commands.evaluate(setup, run, run_directory, name)

    recipe = str(run_directory / "recipe.yaml")
    return _run("run_evaluation", measure, recipe, out, settings, resume, policy_hash(run_directory))


def load_searcher(run: Path | str) -> Searcher:
    """The trained policy of a run, with the retriever it was trained on.

    Raises:
        ModelError: the run holds no policy.
        DataError: the corpus of the run's recipe is gone.

    >>> with load_searcher("runs/leret-train") as searcher:
    ...     hops = searcher.search("Where was Anna Berg born?")
    >>> len(hops)
    2
    """
    recipe = load_model_recipe(
        LeretRecipe, str(Path(run) / "recipe.yaml"), ["model.dtype=auto"], default=DEFAULT
    )
    return Searcher(recipe, Path(run))


def _run(
    called: str,
    command: Callable[[Setup, Run, str], Results],
    recipe: LeretRecipe | str,
    out: Path | str,
    settings: Sequence[str],
    resume: bool,
    inputs: dict[str, str] | None = None,
) -> Results:
    """One of the commands, in a run directory."""
    name, config = named_recipe(LeretRecipe, recipe, settings, default=DEFAULT)
    setup = prepare(config)
    with Run.create(
        Path(out),
        config,
        command=[f"lmtools.leret.{called}", name, *settings],
        inputs={**setup.inputs, **(inputs or {})},
        resume=resume,
        seed=config.seed,
        precision=describe_precisions(config),
    ) as run:
        results = command(setup, run, name)
        run.finish(results)
    return results
