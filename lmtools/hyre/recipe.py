"""Every setting of a HyRe ensemble, its adaptation and its evaluation; a description says what it costs.

Which sources of heads there are is told by ``sources.SOURCES``; `train:` and `adapt:` are in ``settings``.
`RewardRecipe`, at the end, is that of `lmtools eval reward`.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from lmtools.core.config import SYSTEM, Config, Location, Seed
from lmtools.core.errors import RecipeError, RunError
from lmtools.data.locations import Source
from lmtools.hyre.settings import Acquisition, AdaptSettings, Task, TrainSettings
from lmtools.hyre.sources import SOURCES
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.spec import ModelSpec

if TYPE_CHECKING:
    SourceName = str
else:  # to pydantic, and in the schema of recipes: the names there are
    SourceName = Literal[tuple(SOURCES)]


class SourceSettings(Config):
    """Where a group of heads comes from."""

    source: SourceName = Field(
        description="; ".join(f"`{name}`: {source.summary}" for name, source in SOURCES.items()) + "."
    )
    count: int = Field(
        default=100,
        ge=1,
        description="How many heads, K. Disk grows with it, and for trained ones time.",
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


class DataSettings(Config):
    """Pairs or tables: what the ensemble learns from, and what it is adapted to."""

    train: Source = Field(
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
    targets: Source = Field(
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
    tables: tuple[Source, ...] = Field(
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in {source.source for source in self.heads}:
            rule = SOURCES[name].rule
            if rule is not None and (self.name != name or self.adapt.rule != rule):
                raise ValueError(f"heads: {name} stands alone, and needs adapt.rule: {rule}")
            if rule is not None and self.adapt.standardise:
                raise ValueError(f"adapt.standardise: true would undo the prior that {name} learned")
        if self.task == "preference":
            if self.data.tables:
                raise ValueError("data.tables is for task: regression or classification")
            return self
        if not self.data.tables:
            raise ValueError(f"task: {self.task} reads data.tables: name one")
        named = {source.source for source in self.heads} | set(self.compare)
        if unfit := [name for name in SOURCES if name in named and self.task not in SOURCES[name].tasks]:
            raise ValueError(f"{', '.join(unfit)}: only for task: preference, as they are made of pairs")
        if self.lora is not None:
            raise ValueError("lora: tables have no backbone")
        return self


# Every setting of `lmtools eval reward`.


class RewardRecipe(Config):
    """The measurement of a reward model: which model, on which pairs."""

    system: Literal["reward"] = Field(default="reward", description=SYSTEM)
    seed: int = Field(
        default=0,
        ge=0,
        description="Everything random follows from it: which pairs a limit draws, and the intervals.",
    )
    model: ModelSpec | None = Field(
        default=None,
        description="A sequence-classification reward model; null: an ensemble of `lmtools hyre train`. "
        "Time and memory grow with its size.",
    )
    features: FeatureSettings = Field(
        default=FeatureSettings(layers=(-1,), pooling=("last",)),
        description="How the reward model reads; its `max_tokens` is what may be worth changing: time "
        "grows with it.",
    )
    run: Annotated[str | None, Location()] = Field(
        default=None,
        description="A run of `lmtools hyre train`, measured where no model is named; null: the last one, "
        "or a new one.",
    )
    weights: Annotated[str | None, Location()] = Field(
        default=None,
        description="The weights of a user for that run: a weights.json, or a run of `lmtools hyre adapt`; "
        "null: its single head, which is one reward for all.",
    )
    pairs: Source = Field(
        default="atlas:preferences.targets",
        description="Preference pairs: a file, `atlas:...`, `data:FILE` or `hf:REPO...`, told apart by "
        "`distribution`, or a folder with a file of each. Reading them is what takes time.",
    )
    limit: int | None = Field(
        default=None,
        gt=0,
        description="At most this many pairs of each distribution, drawn by seed; null: all. Fewer are "
        "faster and make intervals wider.",
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples of each interval; more makes its ends steadier and takes seconds.",
    )


# What a command asks of a recipe that is valid by itself.


def check_trainable(recipe: HyreRecipe) -> None:
    """Whether the recipe is for `lmtools hyre train`.

    Raises:
        RunError: it is for tables, whose ensembles are trained and measured in one go.
    """
    if recipe.task != "preference":
        raise RunError(
            f"task: {recipe.task}: tables are trained on and measured in one go, their ensembles kept",
            fix="lmtools hyre eval --recipe FILE",
        )


def check_reward(recipe: RewardRecipe) -> None:
    """Whether the recipe names one thing to measure.

    Raises:
        RecipeError: it names two, or weights without a run's ensemble.
    """
    if recipe.model is not None and (recipe.run or recipe.weights):
        raise RecipeError(
            "a model, and a run or weights: which of them is to be measured?",
            fix="give either --model NAME, or --run RUN and --weights FILE",
        )
