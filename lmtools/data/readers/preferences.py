"""Preference pairs in the lmtools contract, which is TRL's, in any of its forms:

{"prompt": "Name the capital of France.", "chosen": "Paris.", "rejected": "Lyon."}
{"prompt": [{"role": "user", ...}], "chosen": [{"role": "assistant", ...}], "rejected": [...]}
{"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}

Pairs that cannot teach or test anything, because the answers are the same or one is empty, are left out:
collections have some.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from lmtools.data.reader import Reader
from lmtools.data.records import Preference, Record, Said, compared

UNUSED = "has the same answer twice, or an empty one"


class Original(Record):
    """A record of pairs; the file it is from may say whose judgement it is."""

    distribution: str = ""

    @property
    def id(self) -> str:
        """None: pairs are told by their content, as the ids of collections are not unique in all of them."""
        return ""


class PreferenceRecord(Record):
    """A pair whose answers may be the same, or empty."""

    id: str = ""
    prompt: Said = ""
    chosen: Said = Field()
    rejected: Said = Field()
    distribution: str = ""

    @model_validator(mode="after")
    def _answers_to_one_prompt(self) -> Self:
        compared(self.prompt, self.chosen, self.rejected)
        return self


def usable(chosen: str, rejected: str) -> bool:
    """Whether there are two answers."""
    return bool(chosen.strip()) and bool(rejected.strip()) and chosen.strip() != rejected.strip()


def preference(record: PreferenceRecord) -> Iterator[Preference]:
    """The same pair, if its answers differ."""
    _, chosen, rejected = compared(record.prompt, record.chosen, record.rejected)
    if usable(chosen, rejected):
        yield Preference(
            id=record.id,
            prompt=record.prompt,
            chosen=record.chosen,
            rejected=record.rejected,
            distribution=record.distribution,
        )


PREFERENCES = Reader(
    name="preferences",
    label="preference pairs in the lmtools contract",
    marks=frozenset({"chosen", "rejected"}),
    model=PreferenceRecord,
    makes={"preferences": preference},
    unused=UNUSED,
)
