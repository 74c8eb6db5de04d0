"""How labelled examples become weights of the heads: the `adapt:` block of a HyRe recipe."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import Config
from lmtools.hyre.reweighting import LossName, Reduction

Rule = Literal["reweight", "gaussian"]


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
