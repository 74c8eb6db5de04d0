"""The formats that lmtools reads, and how it tells them apart: by the fields of the first record."""

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from lmtools.core.errors import DataError
from lmtools.core.strings import did_you_mean, near_miss
from lmtools.data.faults import MAX_NAMES
from lmtools.data.reader import Kind, Reader, unchanged
from lmtools.data.readers.alpaca import ALPACA
from lmtools.data.readers.arc import ARC, ARC_STEM, OPEN_BOOK_QA
from lmtools.data.readers.beir import BEIR_QUERIES, CONTENTS
from lmtools.data.readers.golden_answers import GOLDEN_ANSWERS, POPQA
from lmtools.data.readers.hh_rlhf import HH_RLHF
from lmtools.data.readers.hotpotqa import HOTPOTQA
from lmtools.data.readers.hover import HOVER
from lmtools.data.readers.instructions import CONVERSATIONS, INSTRUCTIONS
from lmtools.data.readers.llmbar import LLMBAR
from lmtools.data.readers.mmlu import MMLU
from lmtools.data.readers.musique import MUSIQUE
from lmtools.data.readers.preferences import PREFERENCES
from lmtools.data.readers.reward_bench import REWARD_BENCH
from lmtools.data.readers.rm_bench import RM_BENCH
from lmtools.data.readers.sharegpt import SHAREGPT
from lmtools.data.readers.truthfulqa import TRUTHFULQA, TRUTHFULQA_CHOICES, TRUTHFULQA_HUB
from lmtools.data.readers.two_wiki import TWO_WIKI
from lmtools.data.records import MultipleChoice, Passage, Question, TruthfulQuestion

QUESTIONS = Reader(
    name="questions",
    label="questions in the lmtools contract",
    marks=frozenset({"question"}),
    model=Question,
    makes={"questions": unchanged},
)
CORPUS = Reader(
    name="corpus",
    label="passages in the lmtools contract",
    marks=frozenset({"title", "text"}),
    model=Passage,
    makes={"corpus": unchanged},
)
CHOICES = Reader(
    name="choices",
    label="multiple-choice questions in the lmtools contract",
    marks=frozenset({"question", "choices"}),
    model=MultipleChoice,
    makes={"choices": unchanged},
)
TRUTHFUL = Reader(
    name="truthful",
    label="questions with false answers in the lmtools contract",
    marks=frozenset({"question", "incorrect"}),
    model=TruthfulQuestion,
    makes={"truthful": unchanged, "questions": unchanged},
)

CONTRACTS: Mapping[Kind, Reader] = {
    "questions": QUESTIONS,
    "corpus": CORPUS,
    "instructions": INSTRUCTIONS,
    "choices": CHOICES,
    "truthful": TRUTHFUL,
    "preferences": PREFERENCES,
}
"""The format in which lmtools itself keeps each kind."""

READERS: tuple[Reader, ...] = (
    *(TWO_WIKI, HOTPOTQA, HOVER, MUSIQUE),
    *(GOLDEN_ANSWERS, POPQA, TRUTHFULQA_CHOICES, TRUTHFULQA, TRUTHFULQA_HUB, MMLU),
    *(ARC, ARC_STEM, OPEN_BOOK_QA),
    *(LLMBAR, RM_BENCH, REWARD_BENCH, HH_RLHF, PREFERENCES),
    *(ALPACA, INSTRUCTIONS, CONVERSATIONS, SHAREGPT),
    *(CHOICES, TRUTHFUL, CORPUS, QUESTIONS, BEIR_QUERIES, CONTENTS),
)
"""Tried in this order: a format whose fields include another's stands before it."""


def detect(record: Mapping[str, Any], kind: Kind | None = None) -> Reader | None:
    """The first format all of whose marks are fields of ``record``, rather one that makes ``kind``.

    A null is no field, as in the records.
    """
    fields = {name: value for name, value in record.items() if value is not None}
    fitting = [reader for reader in READERS if reader.marks <= set(fields) and reader.matches(fields)]
    of_kind = [reader for reader in fitting if kind is not None and kind in reader.makes]
    return next(iter(of_kind or fitting), None)


def closest(fields: Collection[str]) -> Reader | None:
    """The format of whose marks ``fields`` has the largest part, misspelt ones included, for the message."""

    names = list(islice(fields, MAX_NAMES))

    def share(reader: Reader) -> float:
        near_misses = [near_miss(mark, names, cutoff=0.8) for mark in reader.marks]
        return sum(field is not None for field in near_misses) / len(near_misses)

    # A passage without its title has a query's fields; the title is the likelier to be missing.
    best = max((reader for reader in READERS if reader is not BEIR_QUERIES), key=share)
    return best if share(best) > 0 else None


REFUSED: Mapping[frozenset[str], tuple[str, str]] = {
    frozenset({"query-id", "corpus-id"}): (
        "BEIR relevance judgements, which name passages by id",
        "write the titles of each question's relevant passages into its `supporting`",
    ),
    frozenset({"positive_ctxs"}): (
        "DPR's training data",
        "keep question, answers and the titles of positive_ctxs: "
        "jq -c '.[] | {id: .question, question, golden_answers: .answers}' FILE > OUT.jsonl",
    ),
    frozenset({"version", "data"}): (
        "SQuAD",
        "take its questions: jq -c '.data[] | .title as $title | .paragraphs[].qas[] | "
        "{id, question, answer: .answers[0].text, supporting: [$title]}' FILE > OUT.jsonl",
    ),
    frozenset({"response_a", "response_b"}): (
        "answers of an arena, of which a field names the better",
        "write the better one into `chosen`, the other into `rejected`, and drop ties",
    ),
}
"""Formats that are not read: their fields -> what they are, and the conversion that helps."""


def refuse(source: str, record: Mapping[str, Any]) -> None:
    """Raises: DataError: the fields are those of a format that is known by name and not read."""
    for marks, (label, fix) in REFUSED.items():
        if marks <= set(record):
            raise DataError(f"{source}: {label}: not read as it is", fix=fix.replace("FILE", source))


def by_name(name: str) -> Reader:
    """The format of that name.

    Raises:
        DataError: there is none.
    """
    for reader in READERS:
        if reader.name == name:
            return reader
    names = [reader.name for reader in READERS]
    fix = did_you_mean(name, names) or f"one of {', '.join(names)}, or leave --format out"
    raise DataError(f"unknown format {name!r}", fix=fix)
