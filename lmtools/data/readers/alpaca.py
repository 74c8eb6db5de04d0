"""Alpaca (Taori et al., 2023) and what has its form: a task, perhaps with a text to do it on.

    {"instruction": "Categorize the following fruit ...", "input": "Banana", "output": "Non-citrus fruit."}

A text follows its task after an empty line. Records without an output are left out: nothing can be learned of
them.
"""

from collections.abc import Iterator

from pydantic import Field

from lmtools.data.reader import Reader
from lmtools.data.records import Instruction, Record


class AlpacaRecord(Record):
    """A record as Alpaca's files have it."""

    instruction: str = Field(min_length=1)
    input: str = ""
    output: str


def instruction(record: AlpacaRecord) -> Iterator[Instruction]:
    """The task with its text as what the user says, the output as the answer."""
    if record.output.strip():
        parts = filter(None, (record.instruction.strip(), record.input.strip()))
        yield Instruction(prompt="\n\n".join(parts), completion=record.output.strip())


ALPACA = Reader(
    name="alpaca",
    label="Alpaca",
    marks=frozenset({"instruction", "output"}),
    model=AlpacaRecord,
    makes={"instructions": instruction},
    unused="has no output",
)
