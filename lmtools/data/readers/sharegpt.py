"""ShareGPT, and what has its form: conversations whose turns are ``from`` someone.

    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}

A conversation that does not end with an answer to a turn is left out: there is nothing to learn in it.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from lmtools.data.reader import Reader
from lmtools.data.records import Instruction, Record, Turn, as_tuples, joined_parts

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
}
"""Who speaks, where a file has other names than ours."""


def as_role(value: Any) -> Any:
    """Our name of who speaks; what is none of ShareGPT's is left as it is."""
    return ROLES.get(value, value) if isinstance(value, str) else value


class ShareGptTurn(Record):
    """One turn."""

    role: Annotated[Literal["system", "user", "assistant"], BeforeValidator(as_role)] = Field(
        validation_alias=AliasChoices("from", "role")
    )
    value: Annotated[str, BeforeValidator(joined_parts)] = Field(
        validation_alias=AliasChoices("value", "content")
    )


class ShareGptRecord(Record):
    """A conversation; its id, which is not always unique, is not used."""

    conversations: Annotated[tuple[ShareGptTurn, ...], BeforeValidator(as_tuples)]


def instruction(record: ShareGptRecord) -> Iterator[Instruction]:
    """The same conversation, if it ends with an answer."""
    turns = tuple(Turn(role=turn.role, content=turn.value) for turn in record.conversations)
    if len(turns) > 1 and turns[-1].role == "assistant" and turns[-1].content:
        yield Instruction(messages=turns)


SHAREGPT = Reader(
    name="sharegpt",
    label="ShareGPT",
    marks=frozenset({"conversations"}),
    model=ShareGptRecord,
    makes={"instructions": instruction},
    unused="does not end with an answer to a turn",
)
