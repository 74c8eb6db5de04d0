"""RM-Bench (Liu et al., 2024): a right and a wrong answer, each in three styles of growing splendour.

    {"id": 8, "prompt": "...", "chosen": ["short", "long", "marked up"], "rejected": [...], "domain": "chat"}

Every right answer is better than every wrong one: nine pairs. As in the benchmark's tables a pair is ``easy``
where the right answer has the richer style, ``normal`` where both have the same, ``hard`` where the wrong one
has; the distribution is domain and level: ``chat-hard``. Files without a domain have a subset.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from pydantic import AliasChoices, Field

from lmtools.data.reader import UNUSABLE_PAIR, PairRecord, Reader, usable_pair
from lmtools.data.records import Id, Preference, Texts


class RmBenchRecord(PairRecord):
    """A record as RM-Bench's files have it."""

    prompt: str = Field(min_length=1)
    chosen: Texts = Field(min_length=1)
    rejected: Texts = Field(min_length=1)
    domain: Id = Field(default="", validation_alias=AliasChoices("domain", "subset"))


def preferences(record: RmBenchRecord) -> Iterator[Preference]:
    """All pairs of a right and a wrong answer."""
    for (style, chosen), (other, rejected) in product(enumerate(record.chosen), enumerate(record.rejected)):
        if usable_pair(chosen, rejected):
            named = f"{record.domain}-{level(style, other)}".removeprefix("-")
            yield Preference(
                prompt=record.prompt,
                chosen=chosen,
                rejected=rejected,
                distribution=record.distribution or named,
            )


def level(chosen: int, rejected: int) -> str:
    """How much style speaks against the right answer.

    >>> level(2, 0), level(1, 1), level(0, 1)
    ('easy', 'normal', 'hard')
    """
    return "normal" if chosen == rejected else "easy" if chosen > rejected else "hard"


def matches(record: Mapping[str, Any]) -> bool:
    """Whether the answers are lists of texts."""
    answers = (record["chosen"], record["rejected"])
    return all(isinstance(answer, list) and answer and isinstance(answer[0], str) for answer in answers)


RM_BENCH = Reader(
    name="rm-bench",
    label="RM-Bench",
    marks=frozenset({"prompt", "chosen", "rejected"}),
    model=RmBenchRecord,
    makes={"preferences": preferences},
    unused=UNUSABLE_PAIR,
    matches=matches,
)
