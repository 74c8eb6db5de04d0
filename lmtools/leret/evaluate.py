"""`lmtools leret eval`: what the question alone, the base model and the trained policy find, hop by hop."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmtools.core.errors import RetrieverError, RunError
from lmtools.core.files import write_jsonl
from lmtools.core.intervals import RATE, mean_interval, paired_difference
from lmtools.core.results import Difference, Results, Row
from lmtools.core.run import Run
from lmtools.core.strings import cut
from lmtools.data.records import Question
from lmtools.leret.inputs import LeretInputs, answerer_spec, open_policy, policy_spec
from lmtools.leret.policy import Policy, Trace, accepted_answers, question_as_query, rollout, show
from lmtools.leret.prompts import ZERO_SHOT, read_prompts
from lmtools.leret.recipe import LeretRecipe
from lmtools.metrics.answers import exact_match, f1
from lmtools.metrics.retrieval import average_precision, hop_of, recall
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.protocol import Retriever

# From traces to the table: recall and average precision per hop, with intervals and paired differences.

MIN_KIND = 5
"""A kind of question with fewer examples gets no row of its own."""

Scores = dict[str, list[float]]
"""Metric name -> one value per question."""


def scores(traces: Sequence[Trace], questions: Sequence[Question]) -> Scores:
    """`recall@hopN` and `ap@hopN` of every question, in order."""
    by_metric: Scores = {}
    for question, trace in zip(questions, traces, strict=True):
        gold = list(question.supporting)
        for hop, context in enumerate(trace.contexts, 1):
            by_metric.setdefault(f"recall@hop{hop}", []).append(recall(context.titles, gold))
            by_metric.setdefault(f"ap@hop{hop}", []).append(average_precision(context.titles, gold))
    return by_metric


def row(name: str, values: Scores, questions: Sequence[Question], resamples: int, seed: int) -> Row:
    """One row: every metric over all questions, and `KIND/metric` for each kind of question."""
    ids = [question.id for question in questions]
    kinds: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        kinds.setdefault(question.kind, []).append(index)
    metrics = {metric: mean_interval(v, ids, resamples, seed, bounds=RATE) for metric, v in values.items()}
    for kind, members in sorted(kinds.items()):
        if kind and MIN_KIND <= len(members) < len(questions):
            for metric, v in values.items():
                part = [v[index] for index in members]
                metrics[f"{kind}/{metric}"] = mean_interval(
                    part, [ids[index] for index in members], resamples, seed, bounds=RATE
                )
    return Row(name, metrics)


def differences(
    table: Mapping[str, Scores], a: str, questions: Sequence[Question], resamples: int, seed: int
) -> list[Difference]:
    """Row ``a`` minus every other row, paired by question, in every metric that both have."""
    ids = [question.id for question in questions]
    return [
        Difference.of(
            a,
            b,
            metric,
            paired_difference(table[a][metric], table[b][metric], ids, resamples, seed, bounds=RATE),
        )
        for b in table
        if b != a
        for metric in table[a]
        if metric in table[b]
    ]


# `traces/`: what every policy asked and found on the test questions, question by question, to be read.
#
#     traces/KIND.jsonl        {"question_id", "row", "queries": [QUERY of hop 1, ...],
#                              "titles": [titles in the context after hop 1, ...],
#                              "found": [[[id, title] new in hop 1, ...], ...]}
#     traces/questions.jsonl   {"id", "question", "answer", "supporting", "kind"} of the test questions
#     traces/passages.jsonl    {"id", "title", "text"} of every passage retrieved, long texts cut
#
# ``row`` is the policy's name in `metrics.json`. Exploration leaves `samples.questions.jsonl`, of the form
# of `traces/questions.jsonl`, beside its `samples.jsonl`.

LONGEST = 2000
"""Characters of a passage that are kept for readers."""


def write_traces(folder: Path, kind: str, row: str, traces: Iterable[Trace]) -> None:
    """One policy's traces; ``row`` is its name in the results."""
    write_jsonl(folder / f"{kind}.jsonl", (trace_row(row, trace) for trace in traces))


def trace_row(row: str, trace: Trace) -> dict[str, Any]:
    """A line of a trace file. A passage is found in the first hop whose context has it."""
    seen: set[str] = set()
    new_by_hop = []
    for context in trace.contexts:
        new_by_hop.append([[hit.id, hit.title] for hit in context.hits if hit.id not in seen])
        seen.update(context.ids)
    return {
        "question_id": trace.question_id,
        "row": row,
        "queries": list(trace.queries),
        "titles": [context.titles for context in trace.contexts],
        "found": new_by_hop,
    }


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """The questions, with what a reader needs to judge what was found for them."""
    fields = {"id", "question", "answer", "supporting", "kind"}
    write_jsonl(path, (question.model_dump(mode="json", include=fields) for question in questions))


def write_passages(path: Path, traces: Mapping[str, Sequence[Trace]], retriever: Retriever) -> None:
    """The passages that any policy retrieved, each once."""
    write_jsonl(path, _passages(traces, retriever))


def _passages(traces: Mapping[str, Sequence[Trace]], retriever: Retriever) -> Iterator[dict[str, Any]]:
    last = (
        trace.contexts[-1] for policy_traces in traces.values() for trace in policy_traces if trace.contexts
    )
    for id in dict.fromkeys(id for context in last for id in context.ids):
        try:
            passage = retriever.passage(id)
        except RetrieverError:  # a service that found it may not have its text
            continue
        text = cut(passage.text, LONGEST)
        yield {"id": id, "title": passage.title, "text": text}


ALIGNED = "SFT + preference"
NAMES = {
    "question": "question-as-query",
    "zero-shot": "zero-shot base",
    "few-shot": "few-shot base",
    "sft": "SFT",
    "trained": ALIGNED,
}


def evaluate(inputs: LeretInputs, run: Run, trained: Path, recipe_name: str) -> Results:
    """Every row of the recipe's table on the test questions; `traces/` has what each policy asked and found.

    Args:
        trained: the training run whose policy, SFT checkpoint and few-shot prompts are measured.
    """
    recipe = inputs.recipe
    traces: dict[str, list[Trace]] = {}
    for kind in recipe.eval.policies:
        policy_traces = _traces(kind, inputs, run, trained)
        if policy_traces is not None:
            traces[kind] = policy_traces
            write_traces(run.path("traces"), kind, row_name(kind, trained), policy_traces)
    write_questions(run.path("traces", "questions.jsonl"), inputs.test)
    write_passages(run.path("traces", "passages.jsonl"), traces, inputs.retriever)
    # After the last policy has been closed: its memory is the answerer's now.
    answers = _answers(traces, inputs, run) if recipe.eval.answers else {}
    table: dict[str, Scores] = {}
    for row_kind, rolled in traces.items():
        policy_scores = scores(rolled, inputs.test) | answers.get(row_kind, {})
        table[row_name(row_kind, trained)] = policy_scores
    resamples, seed = recipe.eval.resamples, recipe.seed
    rows = [row(name, values, inputs.test, resamples, seed) for name, values in table.items()]
    if not table:
        raise RunError(
            f"{trained}: holds nothing of eval.policies ({', '.join(recipe.eval.policies)})",
            fix="--set eval.policies=[question,zero-shot]",
        )
    best = max(table, key=(*NAMES.values(), "preference").index)  # the most taught, in whatever order
    return run.results(recipe_name, rows, differences(table, best, inputs.test, resamples, seed))


@contextmanager
def _when_needed(spec: ModelSpec, recipe: LeretRecipe) -> Iterator[Callable[[], Policy]]:
    """A way to a policy, which is opened at the first call and closed at the end of the block."""
    policies: list[Policy] = []

    def get() -> Policy:
        if not policies:
            policies.append(open_policy(spec, recipe))
        return policies[0]

    try:
        yield get
    finally:
        for policy in policies:
            policy.close()


def _answers(traces: Mapping[str, Sequence[Trace]], inputs: LeretInputs, run: Run) -> dict[str, Scores]:
    """`em` and `f1` for each row, from one answerer."""
    journal = run.journal()
    with _when_needed(answerer_spec(inputs.recipe), inputs.recipe) as answerer:
        for kind, policy_traces in traces.items():
            if f"answers/{kind}" not in journal:
                journal.append(f"answers/{kind}", answer_scores(policy_traces, inputs, answerer()))
    return {kind: journal.read(f"answers/{kind}", _answer_scores) for kind in traces}


def _answer_scores(record: dict[str, Any]) -> Scores:
    return {name: [float(value) for value in record[name]] for name in ("em", "f1")}


def _traces(kind: str, inputs: LeretInputs, run: Run, trained: Path) -> list[Trace] | None:
    recipe = inputs.recipe
    if kind == "question":
        return question_as_query(inputs.test, inputs.retriever, recipe.hop)
    prompts = (ZERO_SHOT, ZERO_SHOT)
    directory = None
    if kind == "few-shot":
        few_shot = read_prompts(trained / "prompts.json")
        if few_shot is None:
            return None
        prompts = few_shot
    elif kind != "zero-shot":
        directory = checkpoint(trained, kind)
        if directory is None:
            return None
    with _when_needed(policy_spec(recipe, directory), recipe) as policy:
        return rollout(kind, policy, prompts, inputs.test, inputs.retriever, recipe.hop, run.journal())


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


def answer_scores(traces: Sequence[Trace], inputs: LeretInputs, answerer: Policy) -> Scores:
    """`em` and `f1` of the answers that a generator gives from each trace's last context."""
    contexts = [show(inputs.retriever, trace.contexts[-1], inputs.recipe.hop) for trace in traces]
    answers = answerer.answer([question.question for question in inputs.test], contexts)
    pairs = [(answer, accepted_answers(q)) for answer, q in zip(answers, inputs.test, strict=True)]
    return {"em": [exact_match(*pair) for pair in pairs], "f1": [f1(*pair) for pair in pairs]}


def last_recall(results: Results) -> str:
    """The name of the recall after the last hop."""
    return max(
        (name for name in results.rows[-1].metrics if name.startswith("recall@hop")),
        key=hop_of,
    )
