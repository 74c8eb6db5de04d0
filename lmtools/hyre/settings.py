"""Settings of training heads and of adapting them: the blocks `train:` and `adapt:` of a HyRe recipe."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import Config

Task = Literal["preference", "classification", "regression"]
Rule = Literal["reweight", "gaussian"]
LossName = Literal["nll", "zero_one"]
Reduction = Literal["sum", "mean"]
Acquisition = Literal["entropy", "bald", "variance", "random"]
"""What makes a pair informative; `reweighting.scores` has their equations."""


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


class AdaptSettings(Config):
    """How labelled examples become weights."""

    rule: Rule = Field(
        default="reweight",
        description="`reweight`: generalised Bayes over the heads. `gaussian`: a normal prior over "
        "combinations of heads, whose posterior mode becomes the weights (they may be negative): with "
        "heads of the source `gaussian_limit`, the limit of infinitely many heads.",
    )
    loss: LossName = Field(
        default="nll",
        description="A head's loss on an example: `nll`, the negative log-likelihood of the label; "
        "`zero_one`, whether it is wrong, however sure. No cost.",
    )
    reduction: Reduction = Field(
        default="sum",
        description="`sum` over the examples, or their `mean`, which leaves the weights of five nearly as "
        "they were. No cost.",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="Divides the losses: low ones trust few heads, high ones all. No cost."
    )
    standardise: bool = Field(
        default=False,
        description="Bring each head's margins to the same size on the training pairs, so that none is heard "
        "for being loud. false: one factor for all heads, which leaves their sizes as they are to each "
        "other.",
    )
    scale: float = Field(
        default=1.0,
        gt=0,
        description="That size: the root mean square of a head's margins on the training pairs (of all "
        "heads together without `standardise`). More makes every example count for more.",
    )
    prior: Literal["uniform", "train"] = Field(
        default="uniform",
        description="Weights before any example: equal ones, or by how well a head does on training pairs.",
    )
