"""RewardBench (Lambert et al., 2024): single-turn pairs in subsets, each of which is a distribution here.

{"prompt": "...", "chosen": "...", "chosen_model": "gpt-4", "rejected": "...", "subset": "llmbar-natural"}
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from lmtools.data.reader import UNUSABLE_PAIR, PairRecord, Reader, usable_pair
from lmtools.data.records import Id, Preference


class RewardBenchRecord(PairRecord):
    """A record as RewardBench has it."""

    prompt: str = Field(min_length=1)
    chosen: str
    rejected: str
    subset: Id


def preference(record: RewardBenchRecord) -> Iterator[Preference]:
    """The pair; its distribution is the subset, if the record does not name one."""
    if usable_pair(record.chosen, record.rejected):
        yield Preference(
            prompt=record.prompt,
            chosen=record.chosen,
            rejected=record.rejected,
            distribution=record.distribution or record.subset,
        )


def matches(record: Mapping[str, Any]) -> bool:
    """Whether prompt and answers are texts."""
    return all(isinstance(record[name], str) for name in ("prompt", "chosen", "rejected"))


REWARD_BENCH = Reader(
    name="reward-bench",
    label="RewardBench",
    marks=frozenset({"prompt", "chosen", "rejected", "subset"}),
    model=RewardBenchRecord,
    makes={"preferences": preference},
    unused=UNUSABLE_PAIR,
    matches=matches,
)
