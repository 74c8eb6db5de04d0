"""Heads as if they were fitted: random in all their parts, their multipliers well away from 1."""

import torch

from lmtools.ats.heads import TemperatureHead, build_head
from lmtools.ats.recipe import BaseShape, HeadConfig

SHAPE = BaseShape(hidden=32, intermediate=64, heads=4, kv_heads=2, head_dim=16, layers=2, vocabulary=300)


def fitted(shape: BaseShape = SHAPE, seed: int = 0, output: float = 0.05, **config) -> TemperatureHead:
    """A head of ``HeadConfig(**config)``; ``output``: the standard deviation of its last layer's weights."""
    head = build_head(HeadConfig(**config), shape, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            spread = output if name.startswith(("output", "log_multiplier")) else 0.25
            parameter.copy_(1 + 0.1 * noise if "layernorm" in name else spread * noise)
    return head.eval()
