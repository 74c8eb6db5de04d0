"""Which head, on which features, for a model of which sizes; needs no torch."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lmtools.core.config import Config
from lmtools.core.errors import ModelError

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

    @field_validator("features", "clip", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

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
