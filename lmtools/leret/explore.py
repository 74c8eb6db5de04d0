"""Exploration: try many queries at every hop, see what each one finds, go on with a sampled outcome.

Work is done in chunks of questions, hop by hop. A chunk is always computed whole and in one order, so that a
run killed anywhere and resumed has met the same batches, and with them the same bits, as one that was not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lmtools.core.journal import Journal
from lmtools.core.progress import Progress
from lmtools.core.seeds import derive
from lmtools.data.records import Question
from lmtools.generation.protocol import Sampling
from lmtools.leret.context import Context, search_hop
from lmtools.leret.outcome import sample_outcomes
from lmtools.leret.policy import Ask, Policy, show
from lmtools.leret.prompts import ZERO_SHOT, Prompt, Shown
from lmtools.leret.recipe import Explorer, ExploreSettings, HopSettings
from lmtools.leret.rewards import Reward
from lmtools.leret.rules import RULES, propose
from lmtools.leret.samples import Group, Sample
from lmtools.retrieval.protocol import Retriever


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
        return [Group.from_json(journal.get(key) or {}) for key in keys]

    def _try(self, branches: list[Branch], hop: int, iteration: int) -> list[Group]:
        shown = [show(self.retriever, branch.context, self.hop) for branch in branches]
        proposals: list[list[Proposed]] = [[] for _ in branches]
        for explorer in self.settings.first if hop == 1 else self.settings.later:
            for into, queries in zip(
                proposals, self._propose(explorer, branches, shown, hop, iteration), strict=True
            ):
                into += queries
        flat = [(index, one) for index, group in enumerate(proposals) for one in group]
        contexts = [branches[index].context for index, _ in flat]
        hits = search_hop(self.retriever, [one.query for _, one in flat], contexts, self.hop)
        after = [context.extend(found, self.hop.order) for context, found in zip(contexts, hits, strict=True)]
        rewards = self.reward([branches[index].question for index, _ in flat], after)
        groups: list[list[Sample]] = [[] for _ in branches]
        for (index, one), found, reward in zip(flat, hits, rewards, strict=True):
            groups[index].append(Sample(one.prompt_id, one.query, found, reward, one.phrase))
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
        shown: Sequence[tuple[Shown, ...]],
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
                for branch, passages in zip(branches, shown, strict=True)
            ]
        if explorer == "temperature":
            return self._sampled(branches, shown, hop, iteration)
        prompts = (ZERO_SHOT,) if explorer == "zero-shot" else self.few_shot["first" if hop == 1 else "later"]
        proposals: list[list[Proposed]] = [[] for _ in branches]
        for prompt in prompts:
            asks = [Ask(prompt, b.question.question, s) for b, s in zip(branches, shown, strict=True)]
            for into, query in zip(proposals, self.policy.write(asks), strict=True):
                into.append(Proposed(prompt.id, query))
        return proposals

    def _sampled(
        self, branches: Sequence[Branch], shown: Sequence[tuple[Shown, ...]], hop: int, iteration: int
    ) -> list[list[Proposed]]:
        asks = [Ask(ZERO_SHOT, b.question.question, s) for b, s in zip(branches, shown, strict=True)]
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
