"""Every setting of a HyRe ensemble, its adaptation and its evaluation; a description says what it costs."""

from typing import Any, Literal, Self, get_args

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from lmtools.core.config import Config
from lmtools.hyre.acquire import Acquisition
from lmtools.hyre.reweighting import LossName, Reduction
from lmtools.hyre.training_settings import (
    EVERY_TASK,
    LoraSettings,
    SourceName,
    SourceSettings,
    TrainSettings,
)
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.spec import ModelSpec

Task = Literal["preference", "classification", "regression"]
Rule = Literal["reweight", "gaussian"]

__all__ = [
    "EVERY_TASK",
    "AdaptSettings",
    "DataSettings",
    "EvalSettings",
    "HyreRecipe",
    "LoraSettings",
    "Rule",
    "SourceName",
    "SourceSettings",
    "Task",
    "TrainSettings",
]


class DataSettings(Config):
    """Pairs or tables: what the ensemble learns from, and what it is adapted to."""

    train: str = Field(
        default="atlas:preferences",
        description="Preference pairs of many users: a path, `atlas:preferences` or `hf:repo:...`.",
    )
    train_limit: int | None = Field(
        default=None, gt=0, description="Train on at most this many pairs, drawn by seed."
    )
    targets: str = Field(
        default="atlas:preferences.targets",
        description="Pairs of the users to adapt to, told apart by `distribution`, or a folder with a file "
        "of each.",
    )
    target_limit: int | None = Field(
        default=None,
        gt=0,
        description="Use at most this many pairs of each target, drawn by seed; reading them costs most of "
        "an evaluation.",
    )
    tables: tuple[str, ...] = Field(
        default=(),
        description="For regression and classification: tables, each an ensemble of its own (a folder in "
        "UCI's form, or a CSV whose last column is the target).",
    )
    shift: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="For tables: train on this lower share of the range of the feature that varies most "
        "with the target; adapt and test on the rest.",
    )

    @field_validator("tables", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class AdaptSettings(Config):
    """How labelled examples become weights."""

    rule: Rule = Field(
        default="reweight",
        description="`reweight`: generalised Bayes over the heads. `gaussian`: a normal prior over "
        "combinations of heads, whose posterior mode becomes the weights (they may be negative): with "
        "heads of the source `gaussian_limit`, the limit of infinitely many heads.",
    )
    loss: LossName = Field(default="nll", description="A head's loss on an example.")
    reduction: Reduction = Field(
        default="sum",
        description="Over the examples. A mean of five leaves the weights nearly as they were.",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="Divides the losses: low ones trust few heads, high ones all."
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
        description="That size: the root mean square of a head's margins on the training pairs (of all heads "
        "together without `standardise`).",
    )
    prior: Literal["uniform", "train"] = Field(
        default="uniform",
        description="Weights before any example: equal ones, or by how well a head does on training pairs.",
    )


class EvalSettings(Config):
    """What an evaluation does for every target."""

    examples: tuple[NonNegativeInt, ...] = Field(
        default=(0, 1, 2, 5, 10, 16, 32, 64),
        min_length=1,
        description="Numbers of labelled examples; those that leave too few to test on are left out.",
    )
    draws: int = Field(
        default=20, ge=1, description="Random choices of the labelled examples, each with its own test set."
    )
    holdout: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of each target's pairs that is only ever tested on; examples come from the rest.",
    )
    methods: tuple[str, ...] = Field(default=(), description="Rows to measure; empty: all of them.")
    active: tuple[Acquisition, ...] = Field(
        default=("bald", "entropy", "variance"),
        description="Ways of asking to compare with random examples, for the main ensemble; each asks one "
        "example at a time, and takes longer than all else.",
    )
    resamples: int = Field(default=2000, ge=100, description="Bootstrap resamples of each interval.")

    @field_validator("examples", "methods", "active", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class HyreRecipe(Config):
    """A HyRe ensemble: which backbone, which pairs, which heads, and how it is adapted and measured."""

    system: Literal["hyre"] = Field(default="hyre", description="Which of the three systems it is for.")
    seed: int = Field(default=0, ge=0, description="Everything random follows from it.")
    task: Task = Field(
        default="preference",
        description="Pairs (Bradley-Terry), classes (cross-entropy) or numbers (squared error).",
    )
    model: ModelSpec = ModelSpec()
    features: FeatureSettings = FeatureSettings()
    data: DataSettings = DataSettings()
    heads: tuple[SourceSettings, ...] = Field(
        default=(SourceSettings(source="pca"),),
        min_length=1,
        description="The sources that make up the ensemble, together.",
    )
    compare: tuple[SourceName, ...] = Field(
        default=(),
        description="Other ensembles to train on the same features, each of one source and as many heads "
        "as the main one; seconds to a minute each.",
    )
    train: TrainSettings = TrainSettings()
    lora: LoraSettings | None = Field(
        default=None, description="Fine-tune the backbone under the heads first; null: it stays frozen."
    )
    adapt: AdaptSettings = AdaptSettings()
    eval: EvalSettings = EvalSettings()

    @property
    def heads_count(self) -> int:
        """How many heads the main ensemble has, K, the head of a reward model itself aside."""
        return sum(source.count for source in self.heads)

    @property
    def name(self) -> str:
        """The main ensemble's sources: ``pca+shared_base``."""
        return "+".join(dict.fromkeys(source.source for source in self.heads))

    @field_validator("heads", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """In a recipe the bare name of a source will do."""
        if not isinstance(value, list | tuple):
            return value
        return tuple({"source": item} if isinstance(item, str) else item for item in value)

    @field_validator("compare", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        limited = [source.source == "gaussian_limit" for source in self.heads]
        if any(limited) and (not all(limited) or self.adapt.rule != "gaussian"):
            raise ValueError("heads: gaussian_limit stands alone, and needs adapt.rule: gaussian")
        if any(limited) and self.adapt.standardise:
            raise ValueError("adapt.standardise: true would undo the prior that gaussian_limit learned")
        if self.task == "preference":
            if self.data.tables:
                raise ValueError("data.tables is for task: regression or classification")
            return self
        if not self.data.tables:
            raise ValueError(f"task: {self.task} reads data.tables: name one")
        named = {source.source for source in self.heads} | set(self.compare)
        if unfit := [name for name in get_args(SourceName) if name in named - set(EVERY_TASK)]:
            raise ValueError(f"{', '.join(unfit)}: only for task: preference, as they are made of pairs")
        if self.lora is not None:
            raise ValueError("lora: tables have no backbone")
        return self
