"""LLMBar (Zeng et al., 2024): an instruction and two outputs, of which ``label`` names the better.

{"input": "Summarize ...", "output_1": "...", "output_2": "...", "label": 1}
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from lmtools.data.reader import UNUSABLE_PAIR, PairRecord, Reader, usable_pair
from lmtools.data.records import Preference, as_whole


class LlmBarRecord(PairRecord):
    """A record as LLMBar's files have it."""

    input: str = Field(min_length=1)
    output_1: str
    output_2: str
    label: Annotated[Literal[1, 2], BeforeValidator(as_whole)]


def preference(record: LlmBarRecord) -> Iterator[Preference]:
    """The pair, the better output first."""
    outputs = (record.output_1, record.output_2)
    chosen, rejected = outputs if record.label == 1 else outputs[::-1]
    if usable_pair(chosen, rejected):
        yield Preference(
            prompt=record.input, chosen=chosen, rejected=rejected, distribution=record.distribution
        )


LLMBAR = Reader(
    name="llmbar",
    label="LLMBar",
    marks=frozenset({"input", "output_1", "output_2", "label"}),
    model=LlmBarRecord,
    makes={"preferences": preference},
    unused=UNUSABLE_PAIR,
)
