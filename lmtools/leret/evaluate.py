"""`lmtools leret eval`: what the question alone, the base model and the trained policy find, hop by hop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lmtools.core.errors import RunError
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.leret.policy import Policy, accepted_answers, show
from lmtools.leret.prompt_file import read_prompts
from lmtools.leret.prompts import ZERO_SHOT
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.rollout import Trace, question_as_query, rollout
from lmtools.leret.setup import Setup, answerer_spec, open_policy, policy_spec
from lmtools.leret.table import Scores, differences, row, scores
from lmtools.leret.trace_files import write_passages, write_questions, write_traces
from lmtools.metrics.answers import exact_match, f1
from lmtools.models.spec import ModelSpec

ALIGNED = "SFT + preference"
NAMES = {
    "question": "question-as-query",
    "zero-shot": "zero-shot base",
    "few-shot": "few-shot base",
    "sft": "SFT",
    "trained": ALIGNED,
}


def evaluate(setup: Setup, run: Run, trained: Path, recipe_name: str) -> Results:
    """Every row of the recipe's table on the test questions; `traces/` has what each policy asked and found.

    Args:
        trained: the training run whose policy, SFT checkpoint and few-shot prompts are measured.
    """
    recipe = setup.recipe
    traces: dict[str, list[Trace]] = {}
    for kind in recipe.eval.policies:
        found = _traces(kind, setup, run, trained)
        if found is not None:
            traces[kind] = found
            write_traces(run.path("traces"), kind, row_name(kind, trained), found)
    write_questions(run.path("traces", "questions.jsonl"), setup.test)
    write_passages(run.path("traces", "passages.jsonl"), traces, setup.retriever)
    # After the last policy has been closed: its memory is the answerer's now.
    answers = _answers(traces, setup, run) if recipe.eval.answers else {}
    table: dict[str, Scores] = {}
    for row_kind, rolled in traces.items():
        own = scores(rolled, setup.test) | answers.get(row_kind, {})
        table[row_name(row_kind, trained)] = own
    resamples, seed = recipe.eval.resamples, recipe.seed
    rows = [row(name, values, setup.test, resamples, seed) for name, values in table.items()]
    if not table:
        raise RunError(
            f"{trained}: holds nothing of eval.policies ({', '.join(recipe.eval.policies)})",
            fix="--set eval.policies=[question,zero-shot]",
        )
    best = max(table, key=(*NAMES.values(), "preference").index)  # the most taught, in whatever order
    return run.results(recipe_name, rows, differences(table, best, setup.test, resamples, seed))


@contextmanager
def _when_needed(spec: ModelSpec, recipe: LeretRecipe) -> Iterator[Callable[[], Policy]]:
    """A way to a policy, which is opened at the first call and closed at the end of the block."""
    made: list[Policy] = []

    def get() -> Policy:
        if not made:
            made.append(open_policy(spec, recipe))
        return made[0]

    try:
        yield get
    finally:
        for policy in made:
            policy.close()


def _answers(traces: Mapping[str, Sequence[Trace]], setup: Setup, run: Run) -> dict[str, Scores]:
    """`em` and `f1` for each row, from one answerer."""
    journal = run.journal()
    with _when_needed(answerer_spec(setup.recipe), setup.recipe) as answerer:
        for kind, found in traces.items():
            if f"answers/{kind}" not in journal:
                journal.append(f"answers/{kind}", answer_scores(found, setup, answerer()))
    return {kind: journal.get(f"answers/{kind}") or {} for kind in traces}


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
        directory = checkpoint(trained, kind)
        if directory is None:
            return None
    with _when_needed(policy_spec(recipe, directory), recipe) as policy:
        return rollout(kind, policy, prompts, setup.test, setup.retriever, recipe.hop, run.journal())


def checkpoint(trained: Path, kind: str) -> Path | None:
    """The last SFT checkpoint (``sft``) or the final policy (``trained``); None where that stage was off.

    Raises:
        RunError: ``trained`` holds no finished training.
    """
    if not (trained / "policy").is_dir():
        raise RunError(f"{trained}: holds no trained policy", fix=f"lmtools leret train --out {trained}")
    if kind == "sft":
        return last_stage(trained, "sft")
    return trained / "policy" if last_stage(trained, "policy") else None


def row_name(kind: str, trained: Path) -> str:
    """What the row of a policy is called; a preference stage alone is not named after SFT."""
    alone = kind == "trained" and last_stage(trained, "sft") is None
    return "preference" if alone else NAMES[kind]


def last_stage(trained: Path, stage: str) -> Path | None:
    """The checkpoint of a stage (``sft`` or ``policy``) in the last iteration that has one."""
    folders = (path for path in trained.glob(f"iterations/*/{stage}") if path.is_dir())
    return max(folders, key=lambda path: int(path.parent.name), default=None)


def answer_scores(traces: Sequence[Trace], setup: Setup, answerer: Policy) -> Scores:
    """`em` and `f1` of the answers that a generator gives from each trace's last context."""
    shown = [show(setup.retriever, trace.contexts[-1], setup.recipe.hop) for trace in traces]
    answers = answerer.answer([question.question for question in setup.test], shown)
    pairs = [(answer, accepted_answers(q)) for answer, q in zip(answers, setup.test, strict=True)]
    return {"em": [exact_match(*pair) for pair in pairs], "f1": [f1(*pair) for pair in pairs]}
