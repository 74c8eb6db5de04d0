"""Temperature heads, by their configuration.

head = build_head(HeadConfig(), base_shape(model.config))
log_multipliers = head(hidden_states, valid=attention_mask.bool())
"""

import torch

from lmtools.ats.head_config import BaseShape, FeatureName, HeadConfig, HeadKind, base_shape
from lmtools.ats.temperature_head import LinearHead, MlpHead, ScalarHead, TemperatureHead
from lmtools.ats.transformer_head import Context, TransformerHead

__all__ = [
    "BaseShape",
    "Context",
    "FeatureName",
    "HeadConfig",
    "HeadKind",
    "LinearHead",
    "MlpHead",
    "ScalarHead",
    "TemperatureHead",
    "TransformerHead",
    "base_shape",
    "build_head",
]

KINDS: dict[HeadKind, type[TemperatureHead]] = {
    "transformer": TransformerHead,
    "mlp": MlpHead,
    "linear": LinearHead,
    "scalar": ScalarHead,
}


def build_head(config: HeadConfig, shape: BaseShape, seed: int = 0) -> TemperatureHead:
    """A new head on the processor, at a multiplier of exactly 1 everywhere; the same for the same seed.

    >>> shape = BaseShape(
    ...     hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, layers=2, vocabulary=100
    ... )
    >>> head = build_head(HeadConfig(kind="linear"), shape)
    >>> head(torch.randn(1, 3, 8)).exp().tolist()  # one multiplier of its logits for each token
    [[1.0, 1.0, 1.0]]
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[config.kind](config, shape).float()
