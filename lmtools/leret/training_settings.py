"""How a query writer is trained on what was tried: the `train:` block of a LeReT recipe."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import Config
from lmtools.leret.explore_settings import Explorer

LossName = Literal[
    "ipo",
    "ipo-mean",
    "sigmoid",
    "hinge",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "aot",
]


class LoraSettings(Config):
    """The adapter."""

    r: int = Field(
        default=32, ge=1, description="Rank: adapter size, and a little of the time, grow with it."
    )
    alpha: int = Field(default=32, ge=1, description="Scale: updates are multiplied by alpha / r. No cost.")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the adapter's input that is dropped while it trains, against overfitting. No "
        "cost.",
    )
    target_modules: str | tuple[str, ...] = Field(
        default="all-linear",
        description="Which layers get an adapter: `all-linear`, or names such as [q_proj, v_proj]; fewer "
        "are smaller, faster and learn less.",
    )


class SftSettings(Config):
    """Context-distillation SFT on the best query of each prompt."""

    enabled: bool = Field(
        default=True, description="false skips SFT: preference optimisation starts from the policy as it is."
    )
    epochs: float = Field(
        default=1.0, gt=0, description="Passes over the examples (paper: 1); time grows with it."
    )
    batch_size: int = Field(
        default=8,
        ge=1,
        description="Examples per step and process (paper: 8 over all of them); memory grows with it.",
    )
    learning_rate: float = Field(
        default=5e-4,
        gt=0,
        description="Peak learning rate; about 1e-7 for full fine-tuning of 8 B. Too high a one forgets "
        "how to write.",
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="Steps of linear warm-up to the peak rate; then linear decay to 0."
    )
    optimizer: str = Field(
        default="adamw_torch",
        description="transformers' name of the optimiser (paper: rmsprop); adamw_torch keeps 8 bytes for "
        "each trained weight, rmsprop 4.",
    )


class PreferenceSettings(Config):
    """Preference optimisation from the SFT checkpoint, which is also the reference."""

    enabled: bool = Field(
        default=True,
        description="false stops after SFT, whose checkpoint is then the policy; saves the time.",
    )
    loss: LossName = Field(
        default="ipo",
        description="`ipo` is the paper's: squared error on summed log-probabilities. `ipo-mean` is TRL's "
        "length-normalised form, on which beta means something else. The others are TRL's by name.",
    )
    beta: float = Field(
        default=0.05,
        gt=0,
        description="Strength of the pull towards the reference (paper: 0.05); lower lets the policy move "
        "further. No cost.",
    )
    epochs: float = Field(
        default=1.0, gt=0, description="Passes over the pairs (paper: 2); time grows with it."
    )
    batch_size: int = Field(
        default=4,
        ge=1,
        description="Pairs per step and process (paper: 4 over all of them); memory grows with it, twice "
        "as fast as in SFT.",
    )
    learning_rate: float = Field(
        default=1e-5,
        gt=0,
        description="Peak learning rate; 1e-7 for full fine-tuning of 8 B. Too high a one forgets what SFT "
        "taught.",
    )
    warmup_steps: int = Field(
        default=20,
        ge=0,
        description="Steps of linear warm-up to the peak rate (paper: 150); then linear decay to 0.",
    )
    optimizer: str = Field(
        default="rmsprop",
        description="transformers' name of the optimiser (paper: rmsprop); adamw_torch keeps 8 bytes for "
        "each trained weight, rmsprop 4.",
    )
    max_pairs: int | None = Field(
        default=64,
        gt=0,
        description="At most this many pairs per prompt, drawn by seed; null keeps all. Four prompts a "
        "hop, as in the paper, give four at most; rules give thousands. Time grows with it.",
    )
    total_pairs: int | None = Field(
        default=None,
        gt=0,
        description="At most this many pairs in all, drawn by seed; null keeps all. Sets how long "
        "preference training takes.",
    )
    explorers: tuple[Explorer, ...] | None = Field(
        default=None,
        description="Pair only queries of these explorers, such as those a model wrote; null pairs all.",
    )


class TrainSettings(Config):
    """Turning what was tried into a policy."""

    iterations: int = Field(
        default=1,
        ge=1,
        description="Explore, then train, this often; each on its own slice of questions, and from the "
        "policy of the one before.",
    )
    full: bool = Field(
        default=False, description="Train all weights instead of a LoRA adapter: 3-4x the memory."
    )
    lora: LoraSettings = Field(
        default=LoraSettings(),
        description="The adapter that is trained; not looked at with `full: true`.",
    )
    sft: SftSettings = Field(
        default=SftSettings(),
        description="Context-distillation SFT: learn the best query of each prompt, without the "
        "demonstrations that led to it.",
    )
    preference: PreferenceSettings = Field(
        default=PreferenceSettings(),
        description="Preference optimisation from the SFT checkpoint, which is also the reference.",
    )
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        description="Longest gradient; longer ones are shortened to it (paper: 10). No cost.",
    )
    gradient_accumulation: int = Field(
        default=1,
        ge=1,
        description="Batches per optimiser step: a larger batch in the same memory, with fewer steps.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Halves memory for about a third more time."
    )
    max_length: int = Field(
        default=1024,
        ge=16,
        description="Longest prompt plus query, in tokens; longer prompts are an error. Memory grows with "
        "the longest one there is.",
    )
    save_steps: int = Field(
        default=50,
        ge=1,
        description="Steps between checkpoints that --resume can start from; the most that a killed run "
        "repeats. Each is written to disk.",
    )
