"""What exploration leaves behind: groups of samples, in the journal and in `samples.jsonl`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lmtools.leret.context import Context
from lmtools.leret.pairs import Tried
from lmtools.retrieval.protocol import Hit


@dataclass(frozen=True)
class Sample:
    """One tried query: who proposed it, what it found, what it earned."""

    prompt_id: str
    query: str
    hits: tuple[Hit, ...]
    reward: float
    phrase: str | None = None
    """What a rule built the query around; None where a model wrote it."""

    @property
    def explorer(self) -> str:
        """The explorer behind the prompt id: `few-shot-2` -> `few-shot`, `rule:phrase` -> `phrase`."""
        name = self.prompt_id.removeprefix("rule:")
        stem, _, number = name.rpartition("-")
        return stem if stem and number.isdigit() else name


@dataclass(frozen=True)
class Group:
    """All samples of one question at one hop, from one shared context."""

    question_id: str
    iteration: int
    hop: int
    trail: str
    context: Context
    before: float
    """The reward of the context itself, before this hop's search."""
    samples: tuple[Sample, ...]

    def tried(self) -> list[Tried]:
        """The samples as pair building sees them."""
        return [Tried(sample.query, sample.reward, sample.explorer, sample.phrase) for sample in self.samples]

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which ``from_json`` makes an equal group."""
        return {
            "question_id": self.question_id,
            "iteration": self.iteration,
            "hop": self.hop,
            "trail": self.trail,
            "context": [_hit_json(hit) for hit in self.context.hits],
            "before": self.before,
            "samples": [_sample_json(sample) for sample in self.samples],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Group":
        """The group that ``to_json`` wrote."""
        return cls(
            data["question_id"],
            data["iteration"],
            data["hop"],
            data["trail"],
            Context(tuple(Hit(*hit) for hit in data["context"])),
            data["before"],
            tuple(
                Sample(prompt_id, query, tuple(Hit(*hit) for hit in hits), reward, phrase)
                for prompt_id, query, hits, reward, phrase in data["samples"]
            ),
        )


def _sample_json(sample: Sample) -> list[Any]:
    hits = [_hit_json(hit) for hit in sample.hits]
    return [sample.prompt_id, sample.query, hits, sample.reward, sample.phrase]


def _hit_json(hit: Hit) -> list[Any]:
    return [hit.id, hit.title, hit.score]


def sample_rows(groups: Iterable[Group]) -> Iterator[dict[str, Any]]:
    """The lines of `samples.jsonl`: one tried query each, with the ids of the context it was tried in."""
    for group in groups:
        for sample in group.samples:
            yield {
                "question_id": group.question_id,
                "iteration": group.iteration,
                "hop": group.hop,
                "context": list(group.context.ids),
                "prompt_id": sample.prompt_id,
                "query": sample.query,
                "hits": [{"id": hit.id, "title": hit.title, "score": hit.score} for hit in sample.hits],
                "reward": sample.reward,
            }


def earnings(groups: Iterable[Group]) -> dict[str, dict[str, float]]:
    """Per prompt id: how often it proposed, its mean reward, and how often it was among a group's best."""
    totals: dict[str, list[float]] = {}
    for group in groups:
        top = max((sample.reward for sample in group.samples), default=0.0)
        for sample in group.samples:
            row = totals.setdefault(sample.prompt_id, [0.0, 0.0, 0.0])
            row[0] += 1
            row[1] += sample.reward
            row[2] += sample.reward == top > group.before
    return {
        name: {"queries": n, "reward": total / n, "best": best / n}
        for name, (n, total, best) in sorted(totals.items())
    }
