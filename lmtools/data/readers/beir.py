r"""Queries of BEIR (Thakur et al., 2021), and passages in one text, as pyserini keeps them.

    {"_id": "PLAIN-2", "text": "Do statins cause breast cancer?"}           queries.jsonl
    {"id": "doc1", "contents": "Anna Berg\nAnna Berg was born in Lund."}    a pyserini collection

BEIR's corpus has the fields of our own. Its queries name no gold titles: those are in its judgements, by id.
What stands before the first line end of ``contents`` is the title; a text of one line has none.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, Field

from lmtools.data.reader import Reader
from lmtools.data.records import Id, Passage, Question, Record


class QueryRecord(Record):
    """A query as BEIR's files have it."""

    id: Id = Field(min_length=1, validation_alias="_id")
    text: str = Field(min_length=1)


class ContentsRecord(Record):
    """A passage as a pyserini collection has it."""

    id: Id = Field(min_length=1, validation_alias=AliasChoices("id", "docid", "_id"))
    contents: str


def question(record: QueryRecord) -> Iterator[Question]:
    """The query as a question without answer and gold titles."""
    yield Question(id=record.id, question=record.text)


def passage(record: ContentsRecord) -> Iterator[Passage]:
    """Title and text; quotes around the title, as in the collections of DPR, are no part of it."""
    title, line_end, text = record.contents.partition("\n")
    if not line_end:
        title, text = "", title
    yield Passage(id=record.id, title=title.strip().strip('"'), text=text)


def matches(record: Mapping[str, Any]) -> bool:
    """Whether it is a query: a passage of BEIR has a title, if an empty one."""
    return "title" not in record


BEIR_QUERIES = Reader(
    name="beir-queries",
    label="queries of BEIR",
    marks=frozenset({"_id", "text"}),
    model=QueryRecord,
    makes={"questions": question},
    matches=matches,
)
CONTENTS = Reader(
    name="pyserini",
    label="passages of a pyserini collection",
    marks=frozenset({"contents"}),
    model=ContentsRecord,
    makes={"corpus": passage},
)
