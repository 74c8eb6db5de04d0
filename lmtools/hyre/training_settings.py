"""Which heads an ensemble has and how they are trained: `heads:`, `train:` and `lora:` of a HyRe recipe."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import Config

SourceName = Literal[
    "shared_base", "epinet", "mixture", "pca", "random", "gaussian", "gaussian_limit", "diverse"
]
EVERY_TASK: tuple[SourceName, ...] = ("shared_base", "epinet", "diverse")
"""The sources that learn any task; the others are made of pairs."""


class SourceSettings(Config):
    """Where a group of heads comes from."""

    source: SourceName = Field(
        description="`shared_base`: trained together on one trunk, held apart by frozen random priors; "
        "`diverse`: the same with a penalty on heads that agree; `epinet`: one network and an index; "
        "`mixture`: trained so that each pair is explained by some head; `pca`: plus and minus the "
        "principal directions of differences of features; `random`: random directions; `gaussian`: "
        "drawn from a normal prior over linear heads that was learned from the training pairs; "
        "`gaussian_limit`: all axes of that prior, as many as there are features, whatever `count` says; "
        "it needs the rule `gaussian`, and stands alone."
    )
    count: int = Field(
        default=100,
        ge=1,
        description="How many heads, K. Disk grows with it, and for trained ones time.",
    )


class TrainSettings(Config):
    """How trained heads are trained; the others are solved for."""

    epochs: int = Field(default=8, ge=1, description="Passes over the cached features; time grows with it.")
    batch: int = Field(
        default=64, ge=2, description="Pairs or rows a step; more makes fewer steps, each a little slower."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW. No cost.")
    weight_decay: float = Field(
        default=1e-2, ge=0, description="AdamW's decoupled weight decay, against overfitting. No cost."
    )
    hidden: int = Field(
        default=128,
        ge=0,
        description="Width of the trunk that all heads share; 0: linear heads. Time and size grow with it.",
    )
    prior_scale: float = Field(
        default=1.0,
        ge=0,
        description="Size of the frozen random priors; more keeps heads further apart. No cost.",
    )
    diversity: float = Field(
        default=1.0,
        ge=0,
        description="Source `diverse`: weight, per head, of the mean squared correlation of two heads; "
        "more keeps them apart and costs accuracy soon.",
    )
    entropy: float = Field(
        default=1.0,
        ge=0,
        description="Source `mixture`: pull of the heads' shares towards equal ones; 0 lets one head take "
        "all pairs.",
    )
    index_dim: int = Field(
        default=16,
        ge=1,
        description="Source `epinet`: length of the normal index; more lets heads differ in more ways, at "
        "a little more time.",
    )


class LoraSettings(Config):
    """Fine-tuning of the backbone under the heads, before its features are kept."""

    rank: int = Field(
        default=8,
        ge=1,
        description="Rank of the LoRA matrices: the adapter's size, and a little of the time, grow with it.",
    )
    epochs: int = Field(default=1, ge=1, description="Passes over the training pairs; time grows with it.")
    pairs: int | None = Field(
        default=None,
        gt=0,
        description="Train on at most this many pairs, drawn by seed; null: all. A step costs about three "
        "times what reading does.",
    )
    batch: int = Field(default=8, ge=1, description="Pairs a step; memory grows with it.")
    learning_rate: float = Field(default=2e-4, gt=0, description="Peak learning rate of AdamW. No cost.")
