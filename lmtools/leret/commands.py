"""The three long commands of LeReT, each a sequence of stages over one run directory."""

import json
from functools import partial
from pathlib import Path

from lmtools.core.results import Results, Row, bootstrap_mean, read_results
from lmtools.core.run import Run
from lmtools.leret import evaluate as evaluation
from lmtools.leret.inputs import Setup, check_trainable, keeping_passages, slices
from lmtools.leret.train import explore_iteration, train_policy
from lmtools.leret.workload import exploring, measuring


def train(setup: Setup, run: Run, recipe_name: str) -> Results:
    """Explore and train, then measure on the test questions. A finished run is only read.

    Raises:
        ModelError: the recipe's backend cannot run a checkpoint of this run.
    """
    check_trainable(setup.recipe)
    setup = keeping_passages(setup, run)
    if run.path("metrics.json").exists():
        return read_results(run.path("metrics.json"))
    train_policy(setup, run)
    with run.stage("measure", partial(measuring, setup.recipe, setup.test)):
        return (
            evaluation.evaluate(setup, run, run.directory, recipe_name) if run.writes else run.results("", ())
        )


def explore(setup: Setup, run: Run, recipe_name: str) -> Results:
    """Explore the first iteration's questions with the base model; writes files and trains nothing."""
    questions = slices(setup.train, setup.recipe.train.iterations)[0]
    if not run.writes:
        return run.results(recipe_name, ())
    if not run.path("samples.jsonl").exists():
        setup = keeping_passages(setup, run)
        with run.stage("explore", partial(exploring, setup.recipe, questions)):
            explore_iteration(setup, setup.recipe.model, 1, questions, run, run.directory)
    return run.results(recipe_name, exploration_rows(run.path("samples.jsonl"), setup))


def exploration_rows(path: Path, setup: Setup) -> list[Row]:
    """One row per prompt id: the mean reward of its queries, clustered by question."""
    values: dict[str, tuple[list[float], list[str]]] = {}
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            sample = json.loads(line)
            rewards, ids = values.setdefault(sample["prompt_id"], ([], []))
            rewards.append(sample["reward"])
            ids.append(sample["question_id"])
    resamples, seed = setup.recipe.eval.resamples, setup.recipe.seed
    return [
        Row(name, {"reward": bootstrap_mean(rewards, ids, resamples, seed)})
        for name, (rewards, ids) in sorted(values.items())
    ]


def evaluate(setup: Setup, run: Run, trained: Path, recipe_name: str) -> Results:
    """Measure the policy of a training run. A finished run is only read."""
    if not run.writes:
        return run.results(recipe_name, ())
    if run.path("metrics.json").exists():
        return read_results(run.path("metrics.json"))
    with run.stage("measure", partial(measuring, setup.recipe, setup.test)):
        return evaluation.evaluate(keeping_passages(setup, run), run, trained, recipe_name)
