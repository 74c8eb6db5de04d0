"""What a head is: features of tokens in, log multipliers of their logits out; and the heads without context.

A token's calibrated logits are ``exp(log multiplier) * logits``. A head starts at a multiplier of exactly 1.
"""

import math

import torch
from torch import Tensor, nn

from lmtools.ats.head_config import BaseShape, HeadConfig

SPREAD = 0.02
"""Standard deviation of the weights that do not start at zero, as Llama's do."""


class TemperatureHead(nn.Module):
    """A head; its parameters are float32."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__()
        self.config, self.shape = config, shape

    def forward(self, features: Tensor, valid: Tensor | None = None, wanted: Tensor | None = None) -> Tensor:
        """Log multipliers of whole sequences.

        Args:
            features: (rows, tokens, features), any float type.
            valid: (rows, tokens), False at padding, on whichever side; None: there is none.
            wanted: (rows, tokens), bool: which multipliers are needed; None: all.

        Returns:
            (rows, tokens), or with ``wanted`` those alone, row by row, flat. float32, within the clip; of
            padding, without meaning.
        """
        chosen = features if wanted is None else features[wanted]
        return self.clipped(self.raw(chosen.float()))

    def raw(self, features: Tensor) -> Tensor:
        """Log multipliers before the clip: (..., features) to (...)."""
        raise NotImplementedError

    def clipped(self, raw: Tensor) -> Tensor:
        """Log multipliers inside the clip."""
        low, high = self.config.clip
        return raw.clamp(math.log(low), math.log(high))


class ScalarHead(TemperatureHead):
    """One temperature for all tokens."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        self.log_multiplier = nn.Parameter(torch.zeros(1))

    def raw(self, features: Tensor) -> Tensor:
        """See ``TemperatureHead``."""
        return self.log_multiplier.expand(features.shape[:-1])


class LinearHead(TemperatureHead):
    """A linear function of the token's features."""

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        self.output = zero_output(shape.width(config.features))

    def raw(self, features: Tensor) -> Tensor:
        """See ``TemperatureHead``."""
        values: Tensor = self.output(features)
        return values[..., 0]


class MlpHead(TemperatureHead):
    """A SwiGLU layer: ``output(silu(gate_proj x) * up_proj x)``.

    Its down projection and the linear function after it would be one linear function; so they are.
    """

    def __init__(self, config: HeadConfig, shape: BaseShape) -> None:
        super().__init__(config, shape)
        width, size = shape.width(config.features), config.mlp_size or shape.intermediate
        self.gate_proj = nn.Linear(width, size, bias=False)
        self.up_proj = nn.Linear(width, size, bias=False)
        self.output = zero_output(size)
        for layer in (self.gate_proj, self.up_proj):
            nn.init.normal_(layer.weight, std=SPREAD)

    def raw(self, features: Tensor) -> Tensor:
        """See ``TemperatureHead``."""
        inner = nn.functional.silu(self.gate_proj(features)) * self.up_proj(features)
        values: Tensor = self.output(inner)
        return values[..., 0]


def zero_output(width: int) -> nn.Linear:
    """The last layer of a head, all zeros: a log multiplier of 0."""
    output = nn.Linear(width, 1)
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    return output
