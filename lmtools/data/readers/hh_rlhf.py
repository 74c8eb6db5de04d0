r"""hh-rlhf (Bai et al., 2022): pairs of whole dialogues that differ in the assistant's last turn.

    {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away."}

Left out are dialogues that are the same, end in nothing, or part before the last turn.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import field_validator, model_validator

from lmtools.core.strings import near_miss
from lmtools.data.reader import PairRecord, Reader, usable_pair
from lmtools.data.records import Preference, Turn, broken, common_start, dialogue


class HhRecord(PairRecord):
    """A record as hh-rlhf's files have it."""

    chosen: str
    rejected: str

    @model_validator(mode="before")
    @classmethod
    def _named(cls, record: Any) -> Any:
        unknown = (
            [name for name in record if name not in cls.model_fields] if isinstance(record, dict) else []
        )
        if (near := near_miss("prompt", unknown, cutoff=0.7)) is not None:
            raise broken(f"no `prompt`, but there is `{near}`", f"rename `{near}` to `prompt`")
        return record

    @field_validator("chosen", "rejected")
    @classmethod
    def _dialogue(cls, text: str) -> str:
        if not dialogue(text):
            problem = "no dialogue of the form `Human: ...`, `Assistant: ...`"
            raise broken(problem, "open with `Human:`, part turns by an empty line; or add a `prompt`")
        return text


def preference(record: HhRecord) -> Iterator[Preference]:
    """The common turns as the prompt, the last ones as the answers."""
    first, second = dialogue(record.chosen), dialogue(record.rejected)
    count = common_start(first, second)
    (role, chosen), (other, rejected) = first[-1], second[-1]
    both_end = len(first) == len(second) == count + 1 and role == other == "assistant"
    if count and both_end and usable_pair(chosen, rejected):
        yield Preference(
            prompt=tuple(Turn(role=speaker, content=content) for speaker, content in first[:count]),
            chosen=(Turn(role="assistant", content=chosen),),
            rejected=(Turn(role="assistant", content=rejected),),
            distribution=record.distribution,
        )


def matches(record: Mapping[str, Any]) -> bool:
    """Whether there is nothing but two texts."""
    return not record.get("prompt") and all(isinstance(record[name], str) for name in ("chosen", "rejected"))


HH_RLHF = Reader(
    name="hh-rlhf",
    label="hh-rlhf",
    marks=frozenset({"chosen", "rejected"}),
    model=HhRecord,
    makes={"preferences": preference},
    unused="has the same answer twice, an empty one, or answers to different dialogues",
    matches=matches,
)
