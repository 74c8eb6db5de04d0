"""`lmtools leret eval`: what the question alone, the base model and the trained policy find, hop by hop."""

from collections.abc import Sequence
from pathlib import Path

from lmtools.core.errors import RunError
from lmtools.core.files import write_jsonl
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.leret.policy import Policy, accepted_answers, show
from lmtools.leret.prompt_file import read_prompts
from lmtools.leret.prompts import ZERO_SHOT
from lmtools.leret.rollout import Trace, question_as_query, rollout
from lmtools.leret.setup import Setup, open_policy, policy_spec
from lmtools.leret.table import Scores, differences, row, scores
from lmtools.metrics.answers import exact_match, f1

NAMES = {
    "question": "question-as-query",
    "zero-shot": "zero-shot base",
    "few-shot": "few-shot base",
    "sft": "SFT",
    "trained": "SFT + preference",
}


def evaluate(setup: Setup, run: Run, trained: Path, recipe_name: str) -> Results:
    """Every row of the recipe's table on the test questions; traces go to `traces/`, one file a policy.

    Args:
        trained: the training run whose policy, SFT checkpoint and few-shot prompts are measured.
    """
    recipe = setup.recipe
    table: dict[str, Scores] = {}
    answerer: Policy | None = None
    for kind in recipe.eval.policies:
        traces = _traces(kind, setup, run, trained)
        if traces is None:
            continue
        name = NAMES[kind]
        table[name] = scores(traces, setup.test)
        if recipe.eval.answers:
            answerer = answerer or open_policy(recipe.answerer or recipe.model, recipe)
            table[name] |= answer_scores(traces, setup, answerer)
        write_jsonl(run.path("traces", f"{kind}.jsonl"), (trace_row(trace) for trace in traces))
    resamples, seed = recipe.eval.resamples, recipe.seed
    rows = [row(name, values, setup.test, resamples, seed) for name, values in table.items()]
    best = list(table)[-1]
    return run.results(recipe_name, rows, differences(table, best, setup.test, resamples, seed))


def _traces(kind: str, setup: Setup, run: Run, trained: Path) -> list[Trace] | None:
    recipe = setup.recipe
    if kind == "question":
        return question_as_query(setup.test, setup.retriever, recipe.hop)
    prompts = (ZERO_SHOT, ZERO_SHOT)
    directory = None
    if kind == "few-shot":
        found = read_prompts(trained / "prompts.json")
        if found is None:
            return None
        prompts = found
    elif kind != "zero-shot":
        directory = checkpoint(trained, recipe.train.iterations, kind)
        if directory is None:
            return None
    policy = open_policy(policy_spec(recipe, directory), recipe)
    return rollout(kind, policy, prompts, setup.test, setup.retriever, recipe.hop, run.journal())


def checkpoint(trained: Path, iterations: int, kind: str) -> Path | None:
    """The directory of the SFT checkpoint (last iteration) or of the final policy; None where it was off.

    Raises:
        RunError: ``trained`` holds no finished training.
    """
    if not (trained / "policy").is_dir():
        raise RunError(
            f"{trained}: holds no trained policy", fix="train one: lmtools leret train --out " + str(trained)
        )
    directory = trained / "policy" if kind == "trained" else trained / "iterations" / str(iterations) / "sft"
    return directory if directory.is_dir() else None


def answer_scores(traces: Sequence[Trace], setup: Setup, answerer: Policy) -> Scores:
    """`em` and `f1` of the answers that a generator gives from each trace's last context."""
    shown = [show(setup.retriever, trace.contexts[-1], setup.recipe.hop) for trace in traces]
    answers = answerer.answer([question.question for question in setup.test], shown)
    pairs = [(answer, accepted_answers(q)) for answer, q in zip(answers, setup.test, strict=True)]
    return {"em": [exact_match(*pair) for pair in pairs], "f1": [f1(*pair) for pair in pairs]}


def trace_row(trace: Trace) -> dict[str, object]:
    """A line of a trace file: the queries, and the titles after each hop."""
    return {
        "question_id": trace.question_id,
        "queries": list(trace.queries),
        "titles": [context.titles for context in trace.contexts],
    }
