"""Every setting of a HyRe ensemble, its adaptation and its evaluation; a description says what it costs."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from lmtools.core.config import SYSTEM, Config, Seed
from lmtools.hyre.acquire import Acquisition
from lmtools.hyre.adapt_settings import AdaptSettings, Rule
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
        description="Preference pairs of many users: a file, `atlas:preferences`, `data:FILE` of "
        "$LMTOOLS_DATA or `hf:REPO[:CONFIG][:SPLIT]`. Reading them is most of the work, once: features are "
        "kept.",
    )
    train_limit: int | None = Field(
        default=None,
        gt=0,
        description="Train on at most this many pairs, drawn by seed; null: all. Time grows with it.",
    )
    targets: str = Field(
        default="atlas:preferences.targets",
        description="Pairs of the users to adapt to, named like `train`, told apart by `distribution`, or "
        "a folder with a file of each.",
    )
    target_limit: int | None = Field(
        default=None,
        gt=0,
        description="Use at most this many pairs of each target, drawn by seed; null: all. Reading them "
        "costs most of an evaluation.",
    )
    tables: tuple[str, ...] = Field(
        default=(),
        description="For regression and classification: tables, each an ensemble of its own (a folder in "
        "UCI's form, or a CSV whose last column is the target). Seconds each.",
    )
    shift: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="For tables: train on this lower share of the range of the feature that varies most "
        "with the target; adapt and test on the rest. More leaves less to test on.",
    )

    @field_validator("tables", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class EvalSettings(Config):
    """What an evaluation does for every target."""

    examples: tuple[NonNegativeInt, ...] = Field(
        default=(0, 1, 2, 5, 10, 16, 32, 64),
        min_length=1,
        description="Numbers of labelled examples; those that leave too few to test on are left out.",
    )
    draws: int = Field(
        default=20,
        ge=1,
        description="Random choices of the labelled examples, each with its own test set; more gives "
        "narrower intervals and takes time in proportion.",
    )
    holdout: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of each target's pairs that is only ever tested on; examples come from the "
        "rest. More makes figures steadier and leaves fewer examples.",
    )
    methods: tuple[str, ...] = Field(
        default=(),
        description="Rows to measure, such as `hyre/pca` or `logistic`; empty: all of them. Fewer are "
        "faster.",
    )
    active: tuple[Acquisition, ...] = Field(
        default=("bald", "entropy", "variance"),
        description="Ways of asking to compare with random examples, for the main ensemble; each asks one "
        "example at a time, and takes longer than all else.",
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples of each interval; more makes its ends steadier and takes seconds.",
    )

    @field_validator("examples", "methods", "active", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class HyreRecipe(Config):
    """A HyRe ensemble: which backbone, which pairs, which heads, and how it is adapted and measured."""

    system: Literal["hyre"] = Field(default="hyre", description=SYSTEM)
    seed: Seed = 0
    task: Task = Field(
        default="preference",
        description="`preference`: pairs (Bradley-Terry); `classification`: classes (cross-entropy); "
        "`regression`: numbers (squared error). The last two read data.tables, and no language model.",
    )
    model: ModelSpec = Field(
        default=ModelSpec(),
        description="The backbone whose hidden states the heads read: which one, at which precision.",
    )
    features: FeatureSettings = Field(
        default=FeatureSettings(),
        description="Which hidden states of an answer become the heads' input.",
    )
    data: DataSettings = Field(
        default=DataSettings(),
        description="What the ensemble learns from, and what it is adapted to.",
    )
    heads: tuple[SourceSettings, ...] = Field(
        default=(SourceSettings(source="pca"),),
        min_length=1,
        description="The sources that make up the ensemble, together; of each a block, or its bare name.",
    )
    compare: tuple[SourceName, ...] = Field(
        default=(),
        description="Other ensembles to train on the same features, each of one source and as many heads "
        "as the main one; seconds to a minute each.",
    )
    train: TrainSettings = Field(
        default=TrainSettings(),
        description="How trained heads are trained; the others are solved for.",
    )
    lora: LoraSettings | None = Field(
        default=None,
        description="Fine-tune the backbone under the heads first, at about three times what reading "
        "costs; null: it stays frozen.",
    )
    adapt: AdaptSettings = Field(
        default=AdaptSettings(),
        description="How labelled examples become weights of the heads.",
    )
    eval: EvalSettings = Field(
        default=EvalSettings(),
        description="What an evaluation does for every target.",
    )

    @property
    def heads_count(self) -> int:
        """How many heads the main ensemble has, K, the head of a reward model itself aside."""
        return sum(source.count for source in self.heads)

    @property
    def name(self) -> str:
        """The main ensemble's sources: ``pca+shared_base``."""
        return "+".join(dict.fromkeys(source.source for source in self.heads))

    @field_validator(
        "heads",
        mode="before",
        json_schema_input_type=Annotated[tuple[SourceSettings | SourceName, ...], Field(min_length=1)],
    )
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
