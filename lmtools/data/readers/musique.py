"""MuSiQue (Trivedi et al., 2022): two- to four-hop questions made of single ones, each with 20 paragraphs.

    {"id": "2hop__...", "paragraphs": [{"idx", "title", "paragraph_text", "is_supporting"}], "question",
     "question_decomposition": [{"question", "answer", "paragraph_support_idx"}], "answer", "answer_aliases",
     "answerable"}

The decomposition gives the reading order. Unanswerable questions, of which the full version has one for each
answerable one, are left out: their gold paragraphs are not there.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from lmtools.data.reader import Reader
from lmtools.data.records import Id, Passage, Question, Record, Texts, as_tuples


class Paragraph(Record):
    """One of the paragraphs beside a question."""

    idx: int
    title: str
    paragraph_text: str
    is_supporting: bool = False


class Step(Record):
    """A single-hop question; its paragraph is unknown in an unanswerable one."""

    paragraph_support_idx: int | None = None


class MusiqueRecord(Record):
    """A record as MuSiQue's files have it; the test set tells neither answer nor support."""

    id: Id = Field(min_length=1)
    question: str = Field(min_length=1)
    paragraphs: Annotated[tuple[Paragraph, ...], BeforeValidator(as_tuples)]
    question_decomposition: Annotated[tuple[Step, ...], BeforeValidator(as_tuples)] = ()
    answer: str = ""
    answer_aliases: Texts = ()
    answerable: bool = True


def question(record: MusiqueRecord) -> Iterator[Question]:
    """The question, its pages in the order of its hops; ``kind`` is ``2-hop`` to ``4-hop``."""
    if not record.answerable:
        return
    title = {paragraph.idx: paragraph.title for paragraph in record.paragraphs}
    steps = [step.paragraph_support_idx for step in record.question_decomposition]
    marked = [paragraph.idx for paragraph in record.paragraphs if paragraph.is_supporting]
    order = [index for index in [*steps, *marked] if index is not None and index in title]
    yield Question(
        id=record.id,
        question=record.question,
        answer=record.answer,
        aliases=record.answer_aliases,
        supporting=tuple(dict.fromkeys(title[index] for index in order)),
        kind=f"{len(steps)}-hop" if steps else "",
    )


def passages(record: MusiqueRecord) -> Iterator[Passage]:
    """The paragraphs; several may come from one page and share its title."""
    for paragraph in record.paragraphs:
        yield Passage(id=paragraph.title or "untitled", title=paragraph.title, text=paragraph.paragraph_text)


MUSIQUE = Reader(
    name="musique",
    label="MuSiQue",
    marks=frozenset({"question", "paragraphs"}),
    model=MusiqueRecord,
    makes={"questions": question, "corpus": passages},
)
