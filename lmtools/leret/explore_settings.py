"""How queries are tried: the `explore:` block of a LeReT recipe."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import Config

Explorer = Literal[
    "zero-shot",
    "few-shot",
    "temperature",
    "question",
    "drop-word",
    "leftover",
    "question+title",
    "phrase",
    "phrase+leftover",
    "question+phrase",
]
RewardName = Literal["ap", "recall", "ndcg", "answer-em", "answer-f1"]


class ExploreSettings(Config):
    """How queries are tried, and what is a good one."""

    first: tuple[Explorer, ...] = Field(
        default=("zero-shot", "few-shot"),
        description="Explorers of the first hop. Where several queries earn the same reward, the explorer "
        "listed first gives the SFT target.",
    )
    later: tuple[Explorer, ...] = Field(
        default=("zero-shot", "few-shot"),
        description="Explorers of the later hops, likewise in order of precedence.",
    )
    few_shot_prompts: int = Field(
        default=3, ge=0, description="How many few-shot prompts to keep, the best of the candidates."
    )
    few_shot_candidates: int = Field(default=12, ge=1, description="Candidate few-shot prompts to score.")
    demonstrations: int = Field(default=3, ge=1, description="Demonstrations in a few-shot prompt, at most.")
    bootstrap_questions: int = Field(
        default=50, ge=1, description="Training questions from which demonstrations are drawn."
    )
    selection_questions: int = Field(
        default=50, ge=1, description="Training questions on which candidates are scored."
    )
    samples: int = Field(
        default=1, ge=1, description="Samples of the `temperature` explorer per question and hop."
    )
    temperature: float = Field(default=1.0, gt=0, description="Its temperature.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Its nucleus: tokens in the smallest set of this probability."
    )
    max_phrases: int = Field(
        default=24, ge=1, description="Queries that one rule may propose per question and hop."
    )
    contexts: int = Field(default=1, ge=1, description="Sampled outcomes a question goes on with, per hop.")
    reward: RewardName = Field(
        default="ap",
        description="What a query earns: average precision, recall or nDCG of the gold titles in the "
        "cumulative context; or exact match / F1 of the answer that a generator gives from it "
        "(`answer-*`, far slower).",
    )
    chunk: int = Field(
        default=64,
        ge=1,
        description="Questions explored together; also the most work that a killed run repeats.",
    )
