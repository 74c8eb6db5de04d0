"""The answers of a calibration run as a list: each question once, whatever the number of methods.

A row carries its bin under every method, so that a click on a bin of any method's diagram finds it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmtools.calibration.predictions import Prediction
from lmtools.calibration.questions import AskedQuestion
from lmtools.metrics.calibration import BINS, bin_of
from lmtools.report.chart_data import said
from lmtools.report.parts import Block, Browser, Entry, Item

NAME = "answers"
BIN = "bin"
MOST, TIER = 5_000, 10
"""Rows at most; and how many of every bin come before the rest."""
ACCEPTED = 12
"""Accepted answers shown of a question that has very many."""
Answer = dict[str, Prediction]
"""One answer to one question under every method, the model as it is first."""


@dataclass
class _Ranked:
    """An answer, and its place in the bin where it stands first: sure but wrong ones lead each bin."""

    task: str
    answer: Answer
    rank: int = MOST
    bins: list[str] = field(default_factory=list)

    def order(self) -> tuple[int, bool, float]:
        """So many of every bin come first, among them wrong ones by falling confidence, then right ones."""
        first = next(iter(self.answer.values()))
        return self.rank // TIER, first.correct, first.confidence if first.correct else -first.confidence


def by_answer(predictions: Iterable[Prediction]) -> dict[str, list[Answer]]:
    """Task -> its answers. Several answers to a question are several lines, in one order for each method."""
    found: dict[str, dict[tuple[str, int], Answer]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for one in predictions:
        key = (one.task, one.method, one.id)
        turn = seen.get(key, 0)
        seen[key] = turn + 1
        found.setdefault(one.task, {}).setdefault((one.id, turn), {})[one.method] = one
    return {task: list(own.values()) for task, own in found.items()}


def bin_name(task: str, method: str, place: int) -> str:
    """The option of a bin; the page says it above the list."""
    return f"{task}, {method}, confidence {100 * place / BINS:.0f} to {100 * (place + 1) / BINS:.0f} %"


def answer_list(
    tasks: Mapping[str, Sequence[Answer]], questions: Iterable[AskedQuestion], strong: str
) -> Browser:
    """The list; of very many answers ``MOST``, some of every bin among them.

    Args:
        tasks: as ``by_answer`` gives them.
        questions: their texts, as far as they are known.
        strong: the method whose confidence stands beside the model's own.
    """
    ranked = [one for task, own in tasks.items() for one in _ranked(task, own)]
    ranked.sort(key=_Ranked.order)
    kept = ranked[:MOST]
    listed = {(one.task, said.id) for one in kept for said in one.answer.values()}
    asked = {key: one for one in questions if (key := (one.task, one.id)) in listed}
    first = next((next(iter(one.answer)) for one in kept), "")
    columns = ["Question", "Answer", "Graded", "Right answer", _sure(first)]
    columns += [_sure(strong)] if strong != first else []
    subjects = {one.subject for one in asked.values() if one.subject}
    filters: dict[str, Sequence[str]] = {
        "task": list(tasks) if len(tasks) > 1 else [],
        "subject": sorted(subjects) if len(subjects) > 1 else [],
        "graded": ["wrong", "right"],
        f"{strong} is": ["surer", "less sure"] if strong != first else [],
        BIN: list(dict.fromkeys(name for one in kept for name in one.bins)),
    }
    filters = {name: options for name, options in filters.items() if options}
    entries = [_entry(one, asked, first, strong, filters) for one in kept]
    return Browser(NAME, "Questions and answers", columns, filters, entries, hidden=[BIN])


def _ranked(task: str, answers: Sequence[Answer]) -> list[_Ranked]:
    found = [_Ranked(task, answer) for answer in answers]
    for method in dict.fromkeys(name for answer in answers for name in answer):
        own = [(one, one.answer[method]) for one in found if method in one.answer]
        confidence = np.array([said.confidence for _, said in own])
        correct = np.array([said.correct for _, said in own])
        bins = bin_of(confidence)
        names = [bin_name(task, method, place) for place in range(BINS)]
        order = np.lexsort((np.where(correct, confidence, -confidence), correct, bins))
        starts = np.searchsorted(bins[order], np.arange(BINS))
        for place, at in enumerate(order.tolist()):
            one, number = own[at][0], int(bins[at])
            one.rank = min(one.rank, place - int(starts[number]))
            one.bins.append(names[number])
    return found


def _entry(
    one: _Ranked,
    asked: Mapping[tuple[str, str], AskedQuestion],
    first: str,
    strong: str,
    filters: Mapping[str, Sequence[str]],
) -> Entry:
    shown = one.answer.get(first) or next(iter(one.answer.values()))
    question = asked.get((one.task, shown.id))
    graded = "right" if shown.correct else "wrong"
    cells = [
        question.question if question else shown.id,
        shown.answer or "(nothing)",
        graded,
        question.accepted[0] if question and question.accepted else "–",
        said(shown.confidence, "rate"),
    ]
    options: dict[str, str | Sequence[str]] = {"graded": graded, BIN: one.bins, "task": one.task}
    if strong != first:
        other = one.answer.get(strong)
        cells.append(said(other.confidence if other else None, "rate"))
        if other and other.confidence != shown.confidence:
            options[f"{strong} is"] = "surer" if other.confidence > shown.confidence else "less sure"
    if question and question.subject:
        options["subject"] = question.subject
    options = {name: own for name, own in options.items() if name in filters}
    return Entry(cells, options, list(_detail(one, shown, question)))


def _detail(one: _Ranked, shown: Prediction, question: AskedQuestion | None) -> Iterator[Block]:
    if question:
        yield Block(f"Question {shown.id}", question.question)
        if question.choices:
            yield Block("Choices", items=[_choice(choice, shown, question) for choice in question.choices])
        else:
            more = len(question.accepted) - ACCEPTED
            items = [Item(text, "gold") for text in question.accepted[:ACCEPTED]]
            yield Block("Accepted answers", f"and {more:,} more" if more > 0 else "", items)
    yield Block("Confidence", items=[_line(method, own, shown) for method, own in one.answer.items()])


def _choice(choice: str, shown: Prediction, question: AskedQuestion) -> Item:
    chosen = choice == shown.answer
    words = f"{choice} (chosen)" if chosen else choice
    if choice in question.accepted:
        return Item(words, "gold")
    return Item(words, "bad" if chosen else "")


def _line(method: str, own: Prediction, shown: Prediction) -> Item:
    """A method's confidence; its answer too, where that is another."""
    text = f"{method}: {said(own.confidence, 'rate')}"
    if own.answer == shown.answer and own.correct == shown.correct:
        return Item(text)
    return Item(f"{text} in “{own.answer}”", "good" if own.correct else "bad")


def _sure(method: str) -> str:
    return f"Confidence, {method}"
