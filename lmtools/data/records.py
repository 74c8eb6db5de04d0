"""The records that flow through lmtools, one frozen model per data contract."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Record(BaseModel):
    """A record: frozen; unknown fields of a file are ignored, so users may keep their own beside ours."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Question(Record):
    """A question with the titles of the passages that answer it (``supporting``, in reading order)."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = ""
    aliases: tuple[str, ...] = ()
    supporting: tuple[str, ...] = ()
    kind: str = ""
    """``bridge``, ``comparison``, a number of hops; empty where the source does not say."""

    @field_validator("aliases", "supporting", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Passage(Record):
    """A passage of a corpus; ``title`` is what ``Question.supporting`` refers to."""

    id: str = Field(min_length=1)
    title: str
    text: str
