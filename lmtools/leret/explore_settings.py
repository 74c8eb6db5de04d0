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
        "listed first gives the SFT target. zero-shot, few-shot and temperature generate with the model, "
        "which is what takes time; the others are rules on the question's own words, and nearly free.",
    )
    later: tuple[Explorer, ...] = Field(
        default=("zero-shot", "few-shot"),
        description="Explorers of the later hops, likewise in order of precedence.",
    )
    few_shot_prompts: int = Field(
        default=3,
        ge=0,
        description="How many few-shot prompts to keep, the best of the candidates; each is one more "
        "generation per question and hop.",
    )
    few_shot_candidates: int = Field(
        default=12,
        ge=1,
        description="Candidate few-shot prompts to score; each costs a generation per selection question "
        "and hop.",
    )
    demonstrations: int = Field(
        default=3,
        ge=1,
        description="Demonstrations in a few-shot prompt, at most; each makes every such prompt longer.",
    )
    bootstrap_questions: int = Field(
        default=50,
        ge=1,
        description="Training questions from which demonstrations are drawn; each costs a generation per "
        "hop.",
    )
    selection_questions: int = Field(
        default=50,
        ge=1,
        description="Training questions on which candidates are scored; time grows with this times "
        "few_shot_candidates.",
    )
    samples: int = Field(
        default=1,
        ge=1,
        description="Samples of the `temperature` explorer per question and hop; each is a generation.",
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="Of the `temperature` explorer: above 1 its queries differ more, towards 0 they become "
        "the greedy one. No cost.",
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Of the `temperature` explorer: draw from the smallest set of tokens with this "
        "probability. No cost.",
    )
    max_phrases: int = Field(
        default=24,
        ge=1,
        description="Queries that one rule may propose per question and hop; each costs a search, and none "
        "a generation.",
    )
    contexts: int = Field(
        default=1,
        ge=1,
        description="Sampled outcomes a question goes on with, per hop: 2 make twice the examples of later "
        "hops, in twice the time.",
    )
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
