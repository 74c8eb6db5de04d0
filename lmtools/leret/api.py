"""LeReT's front door: every command of `lmtools leret` as one function that does the whole of it.

    run_training      explore, train, measure; policy, cards, page           `lmtools leret train`
    run_exploration   try queries, write what each earned                    `lmtools leret explore`
    run_evaluation    measure the policy of a training run                   `lmtools leret eval`
    search            one question, hop by hop, with a trained policy        `lmtools leret search`
    plan              check everything and estimate the work                 `--dry-run`

Each stage is a file of the run directory: an interrupted run goes on where it was, a finished one is only
read.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from lmtools.core.errors import RunError
from lmtools.core.intervals import RATE, mean_interval
from lmtools.core.recipe import recipe_system
from lmtools.core.results import Results, Row, read_results
from lmtools.core.run import METRICS, RECIPE, Run, wrong_run
from lmtools.core.stored import read_lines
from lmtools.leret.card import published, write_cards, write_data_card
from lmtools.leret.dry_run import Plan, dry_run
from lmtools.leret.evaluate import evaluate
from lmtools.leret.inputs import LeretInputs, check_trainable, keeping_passages, policy_hash, prepare, slices
from lmtools.leret.processes import agree
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.search import HopFound, Searcher, check_question
from lmtools.leret.train import explore_iteration, explored_anew, train_policy
from lmtools.leret.workload import exploring, measuring
from lmtools.models.recipes import check_there, load_model_recipe, named_recipe
from lmtools.runs import FinishedRun, RunOptions, finish, open_run, write_lm_eval

DEFAULT = "leret/quickstart"


def run_training(
    recipe: LeretRecipe | str = DEFAULT, out: Path | str | None = "runs/leret-train",
    settings: Sequence[str] = (), *, merge: bool = False, push_to_hub: str | None = None,
    public: bool = False, **options: Unpack[RunOptions],
) -> FinishedRun:  # fmt: skip
    """Explore, train a query writer and measure it: `lmtools leret train`.

    Args:
        recipe: a recipe, the path of one, or the name of one that comes with lmtools.
        out: the run directory; None: a new one under runs/.
        settings: changes to the recipe, as for ``--set``; not with a recipe that is one already.
        merge: also write `merged/`, the whole model with the adapter in it.
        push_to_hub: a repository of the Hugging Face hub for the policy, or for the merged model;
            ``public`` lets everybody read a new one.
        options: those of every run (``lmtools.runs.RunOptions``): ``resume``, ``track``.

    Raises:
        LmtoolsError: recipe, data, model or directory cannot be used as asked.

    >>> results = run_training("my-leret.yaml", "runs/sft", ["train.preference.enabled=false"])
    >>> [row.name for row in results.rows]
    ['question-as-query', 'zero-shot base', 'SFT']
    """
    name, config = named_recipe(LeretRecipe, recipe, settings, default=DEFAULT)
    check_trainable(config)
    inputs = prepare(config)
    options.setdefault("command", ["lmtools.leret.run_training", name, *settings])
    reopen = merge or push_to_hub is not None
    with open_run(
        "leret", "train", config, inputs=inputs.hashes, seed=config.seed, out=out, reopen=reopen, agree=agree,
        **options,
    ) as run:  # fmt: skip
        results = train(inputs, run, name)
        write_cards(run, config, results, merge)
        files = partial(published, run.directory, merge)
        return finish(run, results, files, push_to_hub=push_to_hub, public=public)


def train(inputs: LeretInputs, run: Run, recipe_name: str) -> Results:
    """The work of ``run_training`` in a run that is open. A finished run is only read.

    Raises:
        ModelError: the recipe's backend cannot run a checkpoint of this run.
    """
    check_trainable(inputs.recipe)
    inputs = keeping_passages(inputs, run)
    if run.path(METRICS).exists():
        return read_results(run.path(METRICS))
    train_policy(inputs, run)
    with run.stage("measure", partial(measuring, inputs.recipe, inputs.test)):
        return evaluate(inputs, run, run.directory, recipe_name) if run.writes else run.results("", ())


def run_exploration(
    recipe: LeretRecipe | str = DEFAULT, out: Path | str | None = "runs/leret-explore",
    settings: Sequence[str] = (), **options: Unpack[RunOptions],
) -> FinishedRun:  # fmt: skip
    """Try queries; write what each earned, and the training files: `lmtools leret explore`. Trains nothing.

    It explores the questions of the first iteration with the base model. Arguments and errors are those of
    ``run_training``.

    >>> results = run_exploration("my-leret.yaml", "runs/tried")
    >>> 0 <= results.row("zero-shot").metrics["reward"].value <= 1
    True
    """
    name, config = named_recipe(LeretRecipe, recipe, settings, default=DEFAULT)
    inputs = prepare(config)
    options.setdefault("command", ["lmtools.leret.run_exploration", name, *settings])
    with open_run(
        "leret", "explore", config, inputs=inputs.hashes, seed=config.seed, out=out, agree=agree, **options
    ) as run:
        results = explore(inputs, run, name)
        if not run.writes:
            return FinishedRun(run.directory, results)
        write_data_card(run.directory, config, run.manifest)
        return finish(run, results)


def explore(inputs: LeretInputs, run: Run, recipe_name: str) -> Results:
    """The work of ``run_exploration`` in a run that is open."""
    questions = slices(inputs.train, inputs.recipe.train.iterations)[0]
    if not run.writes:
        return run.results(recipe_name, ())
    samples = run.path("samples.jsonl")
    if not samples.exists():
        inputs = keeping_passages(inputs, run)
        with run.stage("explore", partial(exploring, inputs.recipe, questions)):
            explore_iteration(inputs, inputs.recipe.model, 1, questions, run, run.directory)
    return run.results(recipe_name, exploration_rows(samples, inputs))


def _earned(sample: dict[str, Any]) -> tuple[str, float, str]:
    """The prompt of a sample, its reward, and its question."""
    return str(sample["prompt_id"]), float(sample["reward"]), str(sample["question_id"])


def exploration_rows(path: Path, inputs: LeretInputs) -> list[Row]:
    """One row per prompt id: the mean reward of its queries, clustered by question."""
    rewards: dict[str, tuple[list[float], list[str]]] = {}
    for prompt, reward, question in read_lines(path, _earned, explored_anew(path.parent)):
        values, question_ids = rewards.setdefault(prompt, ([], []))
        values.append(reward)
        question_ids.append(question)
    resamples, seed = inputs.recipe.eval.resamples, inputs.recipe.seed
    return [
        Row(name, {"reward": mean_interval(values, question_ids, resamples, seed, bounds=RATE)})
        for name, (values, question_ids) in sorted(rewards.items())
    ]


def run_evaluation(
    trained: Path | str, out: Path | str | None = "runs/leret-eval", settings: Sequence[str] = (),
    *, recipe: LeretRecipe | str | None = None, lm_eval_out: Path | None = None,
    **options: Unpack[RunOptions],
) -> FinishedRun:  # fmt: skip
    """Measure the policy of a training run: `lmtools leret eval`.

    Args:
        trained: the training run.
        recipe: what it is measured with; None: the training run's own recipe.
        lm_eval_out: also write the results there as lm-evaluation-harness lays them out.

    Other arguments and errors are those of ``run_training``.

    >>> results = run_evaluation("runs/leret-train", "runs/measured", ["eval.resamples=200"])
    >>> results.row("zero-shot base").metrics["recall@hop2"].n
    3
    """
    trained = Path(trained)
    source = str(trained / RECIPE) if recipe is None else recipe
    name, config = named_recipe(LeretRecipe, source, settings, default=DEFAULT)
    policy = policy_hash(trained)
    if source == str(trained / RECIPE):
        check_there(config, trained, "model.", "answerer.", "data.", "retriever.")
    inputs = prepare(config)
    options.setdefault("command", ["lmtools.leret.run_evaluation", str(trained), *settings])
    with open_run(
        "leret", "eval", config, inputs={**inputs.hashes, **policy}, seed=config.seed, out=out, agree=agree,
        **options,
    ) as run:  # fmt: skip
        if not run.writes:
            return FinishedRun(run.directory, run.results(name, ()))
        if run.path(METRICS).exists():
            results = read_results(run.path(METRICS))
        else:
            with run.stage("measure", partial(measuring, config, inputs.test)):
                results = evaluate(keeping_passages(inputs, run), run, trained, name)
        finished = finish(run, results)
        write_lm_eval(lm_eval_out, run, results, config.model, "leret", config.eval.resamples)
        return finished


def load_searcher(run: Path | str, settings: Sequence[str] = ()) -> Searcher:
    """The trained policy of a run, with the retriever it was trained on, at this machine's own precision.

    Raises:
        ModelError: the run holds no policy.
        DataError: the corpus of the run's recipe is gone.

    >>> with load_searcher("runs/leret-train") as searcher:
    ...     hops = searcher.search("Where was Anna Berg born?")
    >>> len(hops)
    2
    """
    # A policy writes at whatever precision: this machine's own, not that of the one it was trained on.
    changes = ["model.dtype=auto", *settings]
    recipe = load_model_recipe(LeretRecipe, str(Path(run) / RECIPE), changes, default=DEFAULT)
    check_there(recipe, Path(run), "model.", "data.corpus", "retriever.")
    return Searcher(recipe, Path(run))


def search(question: str, run: Path | str, settings: Sequence[str] = ()) -> list[HopFound]:
    """Search for a question with the policy of a training run: `lmtools leret search`.

    Raises:
        ModelError: the run holds no policy.
        DataError: the question is empty or not Unicode text, or the corpus of the run's recipe is gone.
    """
    check_question(question)
    with load_searcher(run, settings) as searcher:
        return searcher.search(question)


def plan(recipe: LeretRecipe | str = DEFAULT, settings: Sequence[str] = (), *, train: bool = True) -> Plan:
    """Check everything, render one real example, estimate the work; loads no weights: `--dry-run`.

    Args:
        train: whether something is trained: a backend that cannot is an error then.

    Raises:
        LmtoolsError: as the run itself would, as far as it can be told.
    """
    _, config = named_recipe(LeretRecipe, recipe, settings, default=DEFAULT)
    if train:
        check_trainable(config)
    return dry_run(config)


def find_training(run: Path | None, root: Path = Path("runs")) -> Path:
    """The named training run, or the one under ``root`` whose policy was finished last.

    Raises:
        RunError: it is none, or none is named and there is none.
    """
    if run is None:
        policies = sorted(root.glob("*/policy"), key=lambda path: path.stat().st_mtime)
        if not policies:
            raise RunError(f"no trained policy under {root}/", fix="train one: lmtools leret train")
        return policies[-1].parent
    recipe = run / RECIPE
    if not recipe.is_file() or recipe_system(recipe) not in ("leret", ""):
        raise wrong_run(run, "trained policy", "leret train")
    return run
