"""The sampled-outcome rule: which of the tried queries a question goes on with."""

import random
from collections.abc import Sequence

TOP_BONUS = 0.5
"""Added to the weight of the best level (LeReT's public code; the paper does not say)."""


def outcome_weights(rewards: Sequence[float]) -> list[float]:
    """Each sample's probability of being the outcome that the next hop starts from.

    Samples with reward 1 are out, since nothing is left to find there. A reward level is chosen with weight
    equal to its reward, plus ``TOP_BONUS`` for the highest level left; inside a level samples are equal.

    Returns:
        Probabilities, one per sample, summing to 1; all 0 where every sample has reward 1.

    >>> outcome_weights([0.0, 0.5, 0.5, 1.0])
    [0.0, 0.5, 0.5, 0.0]
    """
    levels = sorted({reward for reward in rewards if reward < 1.0})
    if not levels:
        return [0.0] * len(rewards)
    weights = {level: level + (TOP_BONUS if level == levels[-1] else 0.0) for level in levels}
    total = sum(weights.values())
    counts = {level: sum(reward == level for reward in rewards) for level in levels}
    return [weights[reward] / total / counts[reward] if reward in weights else 0.0 for reward in rewards]


def sample_outcomes(rewards: Sequence[float], n: int, seed: int) -> list[int]:
    """Up to ``n`` distinct samples to go on with, drawn without replacement by ``outcome_weights``.

    Returns:
        Indices into ``rewards``; empty where every reward is 1.
    """
    rng = random.Random(seed)
    weights = outcome_weights(rewards)
    chosen: list[int] = []
    while len(chosen) < n and sum(weights) > 0:
        index = rng.choices(range(len(weights)), weights)[0]
        chosen.append(index)
        weights[index] = 0.0
    return chosen
