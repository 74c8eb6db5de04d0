"""The records that flow through lmtools, one frozen model per data contract."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def as_tuples(value: object) -> object:
    """Lists, at any depth, as the tuples that a frozen record keeps; anything else is left as it is."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_tuples)]
"""A list of texts."""


class Record(BaseModel):
    """A record: frozen; unknown fields of a file are ignored, so users may keep their own beside ours."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Question(Record):
    """A question with the titles of the passages that answer it (``supporting``, in reading order)."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = ""
    aliases: Texts = ()
    supporting: Texts = ()
    kind: str = ""
    """``bridge``, ``comparison``, a number of hops; empty where the source does not say."""


class Passage(Record):
    """A passage of a corpus; ``title`` is what ``Question.supporting`` refers to."""

    id: str = Field(min_length=1)
    title: str
    text: str
