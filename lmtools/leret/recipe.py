"""Every setting of a LeReT run. Field descriptions say what a setting does and what it costs."""

from typing import Literal, Self

from pydantic import Field, model_validator

from lmtools.core.config import SYSTEM, Config, Seed
from lmtools.leret.explore_settings import Explorer, ExploreSettings, RewardName
from lmtools.leret.training_settings import (
    LoraSettings,
    LossName,
    PreferenceSettings,
    SftSettings,
    TrainSettings,
)
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.config import Bm25Config, RetrieverConfig

__all__ = [
    "DataSettings",
    "EvalSettings",
    "ExploreSettings",
    "Explorer",
    "HopSettings",
    "LeretRecipe",
    "LoraSettings",
    "LossName",
    "PreferenceSettings",
    "RewardName",
    "SftSettings",
    "TrainSettings",
]


class DataSettings(Config):
    """Questions to learn from, questions to measure on, and the corpus to search."""

    train: str = Field(
        default="atlas:train",
        description="Questions to learn from: a file, `atlas:SPLIT`, `data:FILE` of $LMTOOLS_DATA or "
        "`hf:REPO[:CONFIG][:SPLIT]`. Time grows with their number.",
    )
    test: str = Field(
        default="atlas:test", description="Questions to measure on, named like `train`; never trained on."
    )
    corpus: str | None = Field(
        default="atlas",
        description="The passages to search: a file, `atlas`, `data:FILE` or `hf:REPO...`; indexed once "
        "and kept. null, with the http retriever only: the service sends their text; gold titles are then "
        "not checked.",
    )
    train_limit: int | None = Field(
        default=None,
        gt=0,
        description="Use only the first N training questions; null: all. Exploring and training take time "
        "in proportion.",
    )
    test_skip: int = Field(
        default=0,
        ge=0,
        description="Leave out the first N test questions, so that one file can serve both for training "
        "and for measuring.",
    )
    test_limit: int | None = Field(
        default=None,
        gt=0,
        description="Use only the first N test questions of those that are left; null: all. Fewer are "
        "faster and make intervals wider.",
    )


class HopSettings(Config):
    """What one hop is: the same for exploring, measuring and searching."""

    hops: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Searches per question, one after the other (HotpotQA 2, HoVer 4). Time grows with it.",
    )
    k: int = Field(
        default=3,
        ge=1,
        description="Passages that one search adds to the context; more finds more and makes the later "
        "prompts longer.",
    )
    fresh: bool = Field(
        default=True,
        description="A search returns the k best passages that are not in the context yet: every hop "
        "spends its budget on new text. false: the k best as they come, without duplicates (the paper).",
    )
    order: Literal["found", "score"] = Field(
        default="found",
        description="Order of the context: as found, hop by hop, or by retriever score (the paper's way; "
        "BM25 scores grow with the length of the query, so there it favours long queries).",
    )
    passage_words: int = Field(
        default=50,
        ge=1,
        description="Words of each passage shown to the policy: more costs time and memory in proportion.",
    )
    max_query_tokens: int = Field(
        default=64,
        ge=1,
        description="Longest query, in tokens. What a rule proposes beyond it is not tried: the policy "
        "could not write it. Generation time grows with it.",
    )


class EvalSettings(Config):
    """What is measured after training."""

    policies: tuple[Literal["question", "zero-shot", "few-shot", "sft", "trained"], ...] = Field(
        default=("question", "zero-shot", "few-shot", "sft", "trained"),
        min_length=1,
        description="Rows of the table. Each but `question` costs one generation per question and hop. A "
        "stage that was off has no row.",
    )
    answers: bool = Field(
        default=False,
        description="Also let the answering model answer from what was found: exact match and F1. Costs "
        "one more generation per question and policy.",
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples of each interval; more makes its ends steadier and takes seconds.",
    )


class LeretRecipe(Config):
    """A LeReT run: what to search, how to explore, how to train, what to measure."""

    system: Literal["leret"] = Field(default="leret", description=SYSTEM)
    seed: Seed = 0
    model: ModelSpec = Field(
        default=ModelSpec(),
        description="The language model that learns to write queries: which one, at which precision, run "
        "by what.",
    )
    answerer: ModelSpec | None = Field(
        default=None,
        description="The model that answers for `answer-*` rewards and `eval.answers`; null: the base "
        "model. Another one takes its own memory.",
    )
    data: DataSettings = Field(
        default=DataSettings(),
        description="Questions to learn from and to measure on, and the corpus to search.",
    )
    retriever: RetrieverConfig = Field(
        default=Bm25Config(),
        description="What a query is sent to; its `kind` decides which other settings there are.",
    )
    hop: HopSettings = Field(
        default=HopSettings(),
        description="What one search is: the same for exploring, measuring and searching.",
    )
    explore: ExploreSettings = Field(
        default=ExploreSettings(),
        description="How queries are tried, and what makes a good one.",
    )
    train: TrainSettings = Field(
        default=TrainSettings(),
        description="How what was tried becomes a policy: supervised fine-tuning, then preference "
        "optimisation.",
    )
    eval: EvalSettings = Field(
        default=EvalSettings(),
        description="What is measured after training.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("first", "later"):
            explorers = getattr(self.explore, name)
            if not explorers:
                raise ValueError(f"explore.{name} is empty: name at least one explorer")
            if "few-shot" in explorers and self.explore.few_shot_prompts == 0:
                raise ValueError(f"explore.{name} has `few-shot`, but explore.few_shot_prompts is 0")
        if self.data.corpus is None and self.retriever.kind != "http":
            raise ValueError(f"data.corpus is null, and the {self.retriever.kind} retriever needs a corpus")
        return self
