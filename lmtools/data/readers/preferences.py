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

from lmtools.data.reader import UNUSABLE_PAIR, Reader, usable_pair
from lmtools.data.records import Id, Preference, Record, TextOrTurns, split_pair


class PreferenceRecord(Record):
    """A pair whose answers may be the same, or empty."""

    id: Id = ""
    prompt: TextOrTurns = ""
    chosen: TextOrTurns = Field()
    rejected: TextOrTurns = Field()
    distribution: Id = ""

    @model_validator(mode="after")
    def _answers_to_one_prompt(self) -> Self:
        split_pair(self.prompt, self.chosen, self.rejected)
        return self


def preference(record: PreferenceRecord) -> Iterator[Preference]:
    """The same pair, if its answers differ."""
    _, chosen, rejected = split_pair(record.prompt, record.chosen, record.rejected)
    if usable_pair(chosen, rejected):
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
    unused=UNUSABLE_PAIR,
)
