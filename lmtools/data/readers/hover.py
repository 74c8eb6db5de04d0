"""HoVer (Jiang et al., 2020): claims to verify against two to four Wikipedia introductions.

    {"uid", "claim", "supporting_facts": [["Grant Hill", 0], ...], "label": "SUPPORTED", "num_hops": 3}

The claim takes the question's place and the label the answer's; the files carry no passages.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from lmtools.data.reader import Fact, Reader, page_titles, zipped_pairs
from lmtools.data.records import Id, Question, Record, as_whole


class HoverRecord(Record):
    """A record as HoVer's files have it; the test set has neither label nor supporting facts."""

    id: Id = Field(validation_alias="uid", min_length=1)
    claim: str = Field(min_length=1)
    supporting_facts: Annotated[tuple[Fact, ...], BeforeValidator(zipped_pairs)] = ()
    label: str = ""
    num_hops: Annotated[int | None, BeforeValidator(as_whole)] = None


def question(record: HoverRecord) -> Iterator[Question]:
    """The claim as a question; ``kind`` is ``2-hop``, ``3-hop`` or ``4-hop``."""
    yield Question(
        id=record.id,
        question=record.claim,
        answer=record.label,
        supporting=page_titles(record.supporting_facts),
        kind=f"{record.num_hops}-hop" if record.num_hops else "",
    )


HOVER = Reader(
    name="hover",
    label="HoVer",
    marks=frozenset({"claim", "supporting_facts"}),
    model=HoverRecord,
    makes={"questions": question},
)
