"""`traces/`: what every policy asked and found on the test questions, question by question, to be read.

    traces/KIND.jsonl        {"question_id", "row", "queries": [QUERY of hop 1, ...], "titles": [titles in the
                             context after hop 1, ...], "found": [[[id, title] new in hop 1, ...], ...]}
    traces/questions.jsonl   {"id", "question", "answer", "supporting", "kind"} of the test questions
    traces/passages.jsonl    {"id", "title", "text"} of every passage that a policy retrieved, long texts cut

``row`` is the policy's name in `metrics.json`. Exploration leaves `samples.questions.jsonl`, of the form of
`traces/questions.jsonl`, beside its `samples.jsonl`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmtools.core.errors import RetrieverError
from lmtools.core.files import write_jsonl
from lmtools.core.text import cut
from lmtools.data.records import Question
from lmtools.leret.rollout import Trace
from lmtools.retrieval.protocol import Retriever

LONGEST = 2000
"""Characters of a passage that are kept for readers."""


def write_traces(folder: Path, kind: str, row: str, traces: Iterable[Trace]) -> None:
    """One policy's traces; ``row`` is its name in the results."""
    write_jsonl(folder / f"{kind}.jsonl", (trace_row(row, trace) for trace in traces))


def trace_row(row: str, trace: Trace) -> dict[str, Any]:
    """A line of a trace file. A passage is found in the first hop whose context has it."""
    known: set[str] = set()
    found = []
    for context in trace.contexts:
        found.append([[hit.id, hit.title] for hit in context.hits if hit.id not in known])
        known.update(context.ids)
    return {
        "question_id": trace.question_id,
        "row": row,
        "queries": list(trace.queries),
        "titles": [context.titles for context in trace.contexts],
        "found": found,
    }


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """The questions, with what a reader needs to judge what was found for them."""
    fields = {"id", "question", "answer", "supporting", "kind"}
    write_jsonl(path, (question.model_dump(mode="json", include=fields) for question in questions))


def write_passages(path: Path, traces: Mapping[str, Sequence[Trace]], retriever: Retriever) -> None:
    """The passages that any policy retrieved, each once."""
    write_jsonl(path, _passages(traces, retriever))


def _passages(traces: Mapping[str, Sequence[Trace]], retriever: Retriever) -> Iterator[dict[str, Any]]:
    last = (trace.contexts[-1] for own in traces.values() for trace in own if trace.contexts)
    for id in dict.fromkeys(id for context in last for id in context.ids):
        try:
            passage = retriever.passage(id)
        except RetrieverError:  # a service that found it may not have its text
            continue
        text = cut(passage.text, LONGEST)
        yield {"id": id, "title": passage.title, "text": text}
