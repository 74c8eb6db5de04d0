"""Instructions in the lmtools contract, in either form:

{"prompt": "Name the capital of France.", "completion": "Paris."}
{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
"""

from collections.abc import Iterator

from pydantic import Field

from lmtools.data.reader import Reader
from lmtools.data.records import Instruction, Record, Turns


class PromptRecord(Record):
    """What the user says and the answer."""

    prompt: str = Field(min_length=1)
    completion: str = Field(min_length=1)


class ConversationRecord(Record):
    """Turns, the last one the answer."""

    messages: Turns = Field(min_length=1)


def from_prompt(record: PromptRecord) -> Iterator[Instruction]:
    """The same as an instruction."""
    yield Instruction(prompt=record.prompt, completion=record.completion)


def from_conversation(record: ConversationRecord) -> Iterator[Instruction]:
    """The same as an instruction."""
    yield Instruction(messages=record.messages)


INSTRUCTIONS = Reader(
    name="instructions",
    label="instructions in the lmtools contract",
    marks=frozenset({"prompt", "completion"}),
    model=PromptRecord,
    makes={"instructions": from_prompt},
)
CONVERSATIONS = Reader(
    name="messages",
    label="conversations in the lmtools contract",
    marks=frozenset({"messages"}),
    model=ConversationRecord,
    makes={"instructions": from_conversation},
)
