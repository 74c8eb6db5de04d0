"""Every setting of an ATS fit; its description says what it does and what it costs. Needs no torch."""

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from lmtools.ats.sequences import Layout
from lmtools.core.config import SYSTEM, Config, Seed
from lmtools.core.errors import ModelError
from lmtools.data.locations import Source
from lmtools.models.spec import ModelSpec

# The head: its kind, its features, and the sizes of the model it is for.

HeadKind = Literal["transformer", "mlp", "linear", "scalar"]
FeatureName = Literal["hidden", "max-logit", "log-std", "argmax-row"]
FROM_LOGITS = {"max-logit", "log-std", "argmax-row"}
"""The features that need a token's logits beside its hidden state."""
MULTIPLIERS = (0.05, 10.0)
"""The range of multipliers that a head may give, over which a summary of logits is as good as the logits."""

LOSSES = {
    "selective_smoothing": "selective smoothing",
    "selective_smoothing_code": "selective smoothing, code form",
    "cross_entropy": "NLL",
    "full_smoothing": "full smoothing",
}
"""The losses that heads are fitted with, in words."""


def method_name(kind: HeadKind, loss: str) -> str:
    """The name of a head's method in tables: its kind; of a scalar with the loss, ``scalar (NLL)``."""
    return f"scalar ({LOSSES.get(loss, loss)})" if kind == "scalar" else kind


class HeadConfig(Config):
    """A temperature head: what predicts it, from which features, within which bounds.

    >>> HeadConfig(kind="linear").features
    ('hidden',)
    """

    kind: HeadKind = Field(
        default="transformer",
        description="What predicts the temperature: `transformer`, a decoder layer that sees the tokens "
        "before, the largest and slowest; `mlp`, a SwiGLU layer, or `linear`, which see the token alone; "
        "`scalar`, one number for all tokens.",
    )
    features: tuple[FeatureName, ...] = Field(
        default=("hidden",),
        description="What the head sees of a token: the last hidden state after the final norm, the highest "
        "logit, the log of the logits' standard deviation, the top token's output row; joined in this order. "
        "All but the first need the logits of every token, prompts included, and make prompts slower.",
    )
    clip: tuple[float, float] = Field(
        default=MULTIPLIERS,
        description="The lowest and highest factor that logits are multiplied by, from 0.05 to 10. "
        "Narrower holds the head back. No cost.",
    )
    mlp_size: int | None = Field(
        default=None,
        gt=0,
        description="mlp: its inner width; null: the model's own. Size and time grow with it.",
    )

    @model_validator(mode="after")
    def _possible(self) -> "HeadConfig":
        low, high = self.clip
        if not 0 < low <= 1 <= high < float("inf"):
            raise ValueError("clip must hold 1: 0 < low <= 1 <= high")
        if not self.features or len(set(self.features)) != len(self.features):
            raise ValueError("features must be one or more, each named once")
        return self

    def of_kind(self, kind: HeadKind) -> "HeadConfig":
        """The same for another kind; a scalar, which looks at no feature, has the default ones."""
        features = ("hidden",) if kind == "scalar" else self.features
        return self.model_copy(update={"kind": kind, "features": features})

    @property
    def contextual(self) -> bool:
        """Whether the head sees the tokens before, and so needs a layer in the model's cache."""
        return self.kind == "transformer"

    @property
    def needs_logits(self) -> bool:
        """Whether a feature is made from logits."""
        return not FROM_LOGITS.isdisjoint(self.features)


@dataclass(frozen=True)
class BaseShape:
    """The sizes of a causal language model, in its own words; ``rms_eps`` is that of the head's norms.

    >>> shape = BaseShape(
    ...     hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, layers=2, vocabulary=100
    ... )
    >>> shape.width(("hidden", "max-logit"))
    9
    """

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int
    vocabulary: int
    rms_eps: float = 1e-6

    @property
    def decoder_weights(self) -> int:
        """The matrices of all layers, about, for a decoder with gated feed-forward layers."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def width(self, features: tuple[FeatureName, ...]) -> int:
        """How many numbers the joined features of a token have."""
        return sum(self.hidden if name in ("hidden", "argmax-row") else 1 for name in features)


def base_shape(config: Any) -> BaseShape:
    """The sizes in a transformers configuration.

    Raises:
        ModelError: it does not say them.
    """
    text = config.get_text_config(decoder=True)
    try:
        hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
        return BaseShape(
            hidden=hidden,
            intermediate=int(getattr(text, "intermediate_size", None) or 4 * hidden),
            heads=heads,
            kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
            head_dim=int(getattr(text, "head_dim", None) or hidden // heads),
            layers=int(text.num_hidden_layers),
            vocabulary=int(text.vocab_size),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"a head cannot be sized for a model of type {getattr(text, 'model_type', '?')}: {error}",
            fix="use a causal transformer language model with one attention size for all layers",
        ) from error


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

    train: Source = Field(
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
        compared = [kind for kind in get_args(HeadKind) if kind in self.compare and kind != self.head.kind]
        return (self.head.of_kind(self.head.kind), *map(self.head.of_kind, compared))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        repeated = sorted({name for name in self.compare if self.compare.count(name) > 1})
        if repeated:
            raise ValueError(f"compare names {', '.join(repeated)} twice")
        if not MULTIPLIERS[0] <= self.head.clip[0] <= self.head.clip[1] <= MULTIPLIERS[1]:
            raise ValueError(f"head.clip must lie in {list(MULTIPLIERS)}, where summaries of logits hold")
        return self
