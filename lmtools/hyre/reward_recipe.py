"""Every setting of `lmtools eval reward`."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import SYSTEM, Config
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.spec import ModelSpec


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
    run: str | None = Field(
        default=None,
        description="A run of `lmtools hyre train`, measured where no model is named; null: the last one, "
        "or a new one.",
    )
    weights: str | None = Field(
        default=None,
        description="The weights of a user for that run: a weights.json, or a run of `lmtools hyre adapt`; "
        "null: its single head, which is one reward for all.",
    )
    pairs: str = Field(
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
