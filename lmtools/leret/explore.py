"""Exploration: try many queries at every hop, see what each one finds, go on with a sampled outcome.

Work is done in chunks of questions, hop by hop. A chunk is always computed whole and in one order, so that a
run killed anywhere and resumed has met the same batches, and with them the same bits, as one that was not.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmtools.core.journal import Journal
from lmtools.core.progress import Progress
from lmtools.core.seeds import derive
from lmtools.data.records import Question
from lmtools.generation.protocol import Sampling
from lmtools.leret.context import Context, search_hop
from lmtools.leret.pairs import Tried
from lmtools.leret.policy import Policy, QueryRequest, show
from lmtools.leret.prompts import ZERO_SHOT, PassageText, Prompt
from lmtools.leret.recipe import Explorer, ExploreSettings, HopSettings
from lmtools.leret.rewards import Reward
from lmtools.leret.rules import RULES, propose
from lmtools.retrieval.protocol import Hit, Retriever

# Records of exploration: a group holds all samples of one prompt (question, hop, context). They are kept in
# the journal and written as `samples.jsonl`.


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


# The sampled-outcome rule: the next hop continues from contexts drawn by their rewards, so that later hops
# are explored from states like those that the trained policy will reach.

TOP_BONUS = 0.5
"""Added to the weight of the best level (LeReT's public code; the paper does not say)."""


def outcome_weights(rewards: Sequence[float]) -> list[float]:
    """Each sample's probability of being the outcome that the next hop starts from.

    Samples with reward 1 are out, since nothing is left to find there. A reward level is chosen with weight
    equal to its reward, plus ``TOP_BONUS`` for the highest level left; inside a level samples are equal.

    Returns:
        Probabilities, one per sample, summing to 1; all 0 where every sample has reward 1.

    >>> outcome_weights([0.0, 0.5, 0.5, 1.0])
    [0.0, 0.5, 0.5, 0.0]
    """
    levels = sorted({reward for reward in rewards if reward < 1.0})
    if not levels:
        return [0.0] * len(rewards)
    weights = {level: level + (TOP_BONUS if level == levels[-1] else 0.0) for level in levels}
    total = sum(weights.values())
    counts = {level: sum(reward == level for reward in rewards) for level in levels}
    return [weights[reward] / total / counts[reward] if reward in weights else 0.0 for reward in rewards]


def sample_outcomes(rewards: Sequence[float], n: int, seed: int) -> list[int]:
    """Up to ``n`` distinct samples to go on with, drawn without replacement by ``outcome_weights``.

    Returns:
        Indices into ``rewards``; empty where every reward is 1.
    """
    rng = random.Random(seed)
    weights = outcome_weights(rewards)
    chosen: list[int] = []
    while len(chosen) < n and sum(weights) > 0:
        index = rng.choices(range(len(weights)), weights)[0]
        chosen.append(index)
        weights[index] = 0.0
    return chosen


@dataclass(frozen=True)
class Branch:
    """A question on its way through the hops; several branches share a question where `contexts` > 1."""

    question: Question
    context: Context = field(default_factory=Context)
    reward: float = 0.0
    trail: str = "0"
    """Which outcome was taken at each hop: names the branch for seeds and the journal."""


@dataclass(frozen=True)
class Proposed:
    """A query before it is tried."""

    prompt_id: str
    query: str
    phrase: str | None = None


@dataclass(frozen=True)
class Explorers:
    """Everything that proposes queries and judges them."""

    policy: Policy
    retriever: Retriever
    reward: Reward
    few_shot: dict[str, tuple[Prompt, ...]]
    """Few-shot prompts of the `first` and of the `later` hops."""
    hop: HopSettings
    settings: ExploreSettings
    seed: int

    def explore(
        self, questions: Sequence[Question], iteration: int, journal: Journal, bar: Progress
    ) -> Iterator[Group]:
        """Try queries for every question at every hop; yields one group per (question, hop, context).

        Groups come chunk by chunk, hop by hop, in the order of the questions, and are journalled as they are
        finished; what the journal holds already is not computed again.
        """
        size = self.settings.chunk
        for start in range(0, len(questions), size):
            branches = [Branch(question) for question in questions[start : start + size]]
            for hop in range(1, self.hop.hops + 1):
                groups = self._hop(branches, hop, iteration, journal)
                yield from groups
                branches = [
                    following
                    for branch, group in zip(branches, groups, strict=True)
                    for following in self._follow(branch, group)
                ]
            bar.advance(len(questions[start : start + size]))

    def _hop(self, branches: list[Branch], hop: int, iteration: int, journal: Journal) -> list[Group]:
        keys = [f"explore/{iteration}/{hop}/{branch.question.id}/{branch.trail}" for branch in branches]
        if not all(key in journal for key in keys):
            for key, group in zip(keys, self._try(branches, hop, iteration), strict=True):
                if key not in journal:
                    journal.append(key, group.to_json())
        return [journal.read(key, Group.from_json) for key in keys]

    def _try(self, branches: list[Branch], hop: int, iteration: int) -> list[Group]:
        branch_passages = [show(self.retriever, branch.context, self.hop) for branch in branches]
        proposals: list[list[Proposed]] = [[] for _ in branches]
        for explorer in self.settings.first if hop == 1 else self.settings.later:
            for into, queries in zip(
                proposals, self._propose(explorer, branches, branch_passages, hop, iteration), strict=True
            ):
                into += queries
        # All branches' queries go through the retriever and the reward in one batch each.
        flat = [(index, proposal) for index, group in enumerate(proposals) for proposal in group]
        contexts = [branches[index].context for index, _ in flat]
        hits = search_hop(self.retriever, [proposal.query for _, proposal in flat], contexts, self.hop)
        after = [
            context.extend(new_hits, self.hop.order) for context, new_hits in zip(contexts, hits, strict=True)
        ]
        rewards = self.reward([branches[index].question for index, _ in flat], after)
        groups: list[list[Sample]] = [[] for _ in branches]
        for (index, proposal), new_hits, reward in zip(flat, hits, rewards, strict=True):
            groups[index].append(
                Sample(proposal.prompt_id, proposal.query, new_hits, reward, proposal.phrase)
            )
        return [
            Group(
                branch.question.id,
                iteration,
                hop,
                branch.trail,
                branch.context,
                branch.reward,
                tuple(samples),
            )
            for branch, samples in zip(branches, groups, strict=True)
        ]

    def _propose(
        self,
        explorer: Explorer,
        branches: Sequence[Branch],
        branch_passages: Sequence[tuple[PassageText, ...]],
        hop: int,
        iteration: int,
    ) -> list[list[Proposed]]:
        """What one explorer proposes for each branch."""
        if explorer in RULES:
            limit = self.settings.max_phrases
            return [
                [
                    Proposed(f"rule:{explorer}", proposal.query, proposal.phrase)
                    for proposal in propose(explorer, branch.question.question, passages, limit)
                    if self.policy.can_write(proposal.query)
                ]
                for branch, passages in zip(branches, branch_passages, strict=True)
            ]
        if explorer == "temperature":
            return self._sampled(branches, branch_passages, hop, iteration)
        prompts = (ZERO_SHOT,) if explorer == "zero-shot" else self.few_shot["first" if hop == 1 else "later"]
        proposals: list[list[Proposed]] = [[] for _ in branches]
        for prompt in prompts:
            asks = [
                QueryRequest(prompt, b.question.question, s)
                for b, s in zip(branches, branch_passages, strict=True)
            ]
            for into, query in zip(proposals, self.policy.write(asks), strict=True):
                into.append(Proposed(prompt.id, query))
        return proposals

    def _sampled(
        self,
        branches: Sequence[Branch],
        branch_passages: Sequence[tuple[PassageText, ...]],
        hop: int,
        iteration: int,
    ) -> list[list[Proposed]]:
        asks = [
            QueryRequest(ZERO_SHOT, b.question.question, s)
            for b, s in zip(branches, branch_passages, strict=True)
        ]
        sampling = Sampling(
            max_tokens=self.policy.max_query_tokens,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            seed=derive(self.seed, "temperature", iteration, hop),
        )
        samples = self.policy.sample(asks, sampling, self.settings.samples)
        return [
            [Proposed(f"temperature-{n}", query) for n, query in enumerate(group, 1)] for group in samples
        ]

    def _follow(self, branch: Branch, group: Group) -> list[Branch]:
        """The branches that a group's outcomes open: distinct contexts, drawn by the sampled-outcome rule."""
        first: dict[tuple[str, ...], Sample] = {}
        contexts = [branch.context.extend(sample.hits, self.hop.order) for sample in group.samples]
        seed = derive(self.seed, "outcome", group.iteration, group.hop, group.question_id, group.trail)
        rewards = [sample.reward for sample in group.samples]
        for index in sample_outcomes(rewards, len(rewards) if self.settings.contexts > 1 else 1, seed):
            first.setdefault(contexts[index].ids, group.samples[index])
            if len(first) == self.settings.contexts:
                break
        return [
            Branch(
                branch.question,
                branch.context.extend(sample.hits, self.hop.order),
                sample.reward,
                f"{branch.trail}.{number}",
            )
            for number, sample in enumerate(first.values())
        ]
