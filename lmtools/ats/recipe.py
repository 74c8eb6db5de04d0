"""Every setting of an ATS fit. Field descriptions say what a setting does and what it costs."""

from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from lmtools.ats.head_config import MULTIPLIERS, HeadConfig, HeadKind
from lmtools.ats.sequences import Layout
from lmtools.core.config import SYSTEM, Config, Seed
from lmtools.models.spec import ModelSpec

LossName = Literal["selective_smoothing", "selective_smoothing_code", "cross_entropy", "full_smoothing"]
Compared = Literal[
    "transformer",
    "mlp",
    "linear",
    "scalar",
    "scalar (NLL)",
    "vector scaling",
    "Platt",
    "histogram binning",
    "scaling-binning",
    "isotonic",
]


class DataSettings(Config):
    """The instructions, and how they become sequences of tokens."""

    train: str = Field(
        default="atlas:instructions",
        description="Instructions with their answers: a file, `atlas:instructions`, `data:FILE` of "
        "$LMTOOLS_DATA or `hf:REPO[:CONFIG][:SPLIT]`.",
    )
    max_response_words: int | None = Field(
        default=None,
        gt=0,
        description="Leave out instructions whose response has more words; null: none. Of short responses "
        "more begin in the same number of tokens, and the first token of an answer is where confidence "
        "matters most.",
    )
    limit: int | None = Field(
        default=None,
        gt=0,
        description="Use only the first N instructions of those that are left; null: all. Time and disk "
        "grow with it.",
    )
    max_tokens: int = Field(
        default=512,
        ge=8,
        description="Longest sequence, in tokens; what is longer loses its end. Time and disk grow with "
        "all tokens.",
    )
    layouts: tuple[Layout, ...] = Field(
        default=("chat",),
        min_length=1,
        description="The look of the text, in turns: the model's own markup with one instruction a sequence, "
        "or plain few-shot text with as many as fit. A head learns the look it sees: name what the "
        "calibrated model will meet.",
    )
    validation: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of the sequences that nothing is trained on: they decide when to stop, and every "
        "method is measured on them. 0: no early stopping, and it is measured on what it was fitted on.",
    )
    cache_dtype: Literal["float16", "float32"] = Field(
        default="float16",
        description="Precision of the kept hidden states. float32 takes twice the disk; it is for models "
        "whose states float16 cannot hold.",
    )

    @field_validator("layouts", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class LossSettings(Config):
    """What a head learns from."""

    name: LossName = Field(
        default="selective_smoothing",
        description="`selective_smoothing` is the paper's: tokens whose top choice is right are sharpened, "
        "all others flattened. `selective_smoothing_code` is the form of its public code, where each of "
        "the two groups is weighted by the other's share. `cross_entropy` is the NLL; `full_smoothing` "
        "smooths all labels.",
    )
    alpha: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Weight of smoothing against sharpening: more makes the model less sure. No cost.",
    )
    smoothing: Literal["uniform", "top_k"] = Field(
        default="uniform",
        description="What smoothing pulls towards: the uniform distribution over all tokens, or over the "
        "`top_k` most probable ones, which pulls far less.",
    )
    top_k: Literal[4, 16, 64] = Field(
        default=16,
        description="For `smoothing: top_k`: how many of the most probable tokens smoothing is over. No "
        "cost.",
    )

    @property
    def over(self) -> int | None:
        """How many of the most probable tokens smoothing is over; None: all."""
        return self.top_k if self.smoothing == "top_k" else None


class TrainSettings(Config):
    """How the heads are trained; the scalars are solved for."""

    epochs: int = Field(
        default=4,
        ge=1,
        description="Passes over the cached features, at most; time grows with it. Many fit questions of "
        "another kind worse.",
    )
    batch_sequences: int = Field(default=8, ge=1, description="Sequences a step; memory grows with it.")
    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate of AdamW. No cost.")
    output_learning_rate: float = Field(
        default=3e-3,
        gt=0,
        description="Peak learning rate of the output layer, which starts at zero: with a high one the "
        "head is a linear function of its states first, and keeps more of that on text it has not seen.",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="AdamW's decoupled weight decay, against overfitting. No cost."
    )
    warmup: int = Field(default=20, ge=0, description="Steps of linear warm-up to the peak rate.")
    cosine: bool = Field(
        default=True, description="Let the rate fall to 0 along a cosine; false keeps it at its peak."
    )
    patience: int = Field(
        default=1,
        ge=0,
        description="Stop after this many epochs without a lower validation loss, and one; 0 stops at the "
        "first. Saves time.",
    )
    clip_grad: float = Field(
        default=1.0, gt=0, description="Longest gradient; longer ones are shortened to it. No cost."
    )


class VectorScalingSettings(Config):
    """Vector scaling works on whole logits, so it is what takes longest."""

    tokens: int | None = Field(
        default=20_000,
        gt=0,
        description="Train it on at most this many tokens, drawn by seed; null: on all. Time grows with "
        "this times the vocabulary.",
    )
    epochs: int = Field(default=3, ge=1, description="Passes over them, at most; time grows with it.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate of Adam. No cost.")


class AtsRecipe(Config):
    """An ATS fit: which model, on which instructions, which head, which loss, what to compare it with."""

    system: Literal["ats"] = Field(default="ats", description=SYSTEM)
    seed: Seed = 0
    model: ModelSpec = Field(
        default=ModelSpec(),
        description="The language model whose probabilities are calibrated; it runs once over the "
        "instructions and stays as it is.",
    )
    data: DataSettings = Field(
        default=DataSettings(),
        description="The instructions, and how they become sequences of tokens.",
    )
    head: HeadConfig = Field(
        default=HeadConfig(),
        description="The temperature head that is fitted.",
    )
    compare: tuple[Compared, ...] = Field(
        default=(
            "mlp",
            "linear",
            "scalar",
            "scalar (NLL)",
            "vector scaling",
            "Platt",
            "histogram binning",
            "scaling-binning",
            "isotonic",
        ),
        description="Other heads, with the same loss, and baselines to fit on the same cache. The heads cost "
        "as much as the main one or less; vector scaling the most, the others next to nothing.",
    )
    loss: LossSettings = Field(
        default=LossSettings(),
        description="What the heads learn from.",
    )
    train: TrainSettings = Field(
        default=TrainSettings(),
        description="How the heads are trained; the scalars are solved for.",
    )
    vector: VectorScalingSettings = Field(
        default=VectorScalingSettings(),
        description="Vector scaling, the slowest baseline, as it works on whole logits; only with it in "
        "`compare`.",
    )
    exact: bool = Field(
        default=False,
        description="Train on logits that are computed again from the hidden states, in small groups, in "
        "place of their summaries. Every epoch then costs as much as the model's output layer.",
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples of each interval; more makes its ends steadier and takes seconds.",
    )

    @property
    def heads(self) -> tuple[HeadConfig, ...]:
        """The main head, then those to compare it with: the same but for their kind."""
        others = [kind for kind in get_args(HeadKind) if kind in self.compare and kind != self.head.kind]
        return (self.head.of_kind(self.head.kind), *map(self.head.of_kind, others))

    @field_validator("compare", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        repeated = sorted({name for name in self.compare if self.compare.count(name) > 1})
        if repeated:
            raise ValueError(f"compare names {', '.join(repeated)} twice")
        if not MULTIPLIERS[0] <= self.head.clip[0] <= self.head.clip[1] <= MULTIPLIERS[1]:
            raise ValueError(f"head.clip must lie in {list(MULTIPLIERS)}, where summaries of logits hold")
        return self
