"""From traces to the table: recall and average precision per hop, with intervals and paired differences."""

from collections.abc import Mapping, Sequence

from lmtools.core.results import Difference, Row
from lmtools.core.statistics import bootstrap_mean, paired_difference
from lmtools.data.records import Question
from lmtools.leret.rollout import Trace
from lmtools.metrics.retrieval import average_precision, recall

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
    metrics = {metric: bootstrap_mean(v, ids, resamples, seed) for metric, v in values.items()}
    for kind, members in sorted(kinds.items()):
        if kind and MIN_KIND <= len(members) < len(questions):
            for metric, v in values.items():
                part = [v[index] for index in members]
                metrics[f"{kind}/{metric}"] = bootstrap_mean(
                    part, [ids[index] for index in members], resamples, seed
                )
    return Row(name, metrics)


def differences(
    table: Mapping[str, Scores], a: str, questions: Sequence[Question], resamples: int, seed: int
) -> list[Difference]:
    """Row ``a`` minus every other row, paired by question, in every metric that both have."""
    ids = [question.id for question in questions]
    return [
        Difference.of(
            a, b, metric, paired_difference(table[a][metric], table[b][metric], ids, resamples, seed)
        )
        for b in table
        if b != a
        for metric in table[a]
        if metric in table[b]
    ]
