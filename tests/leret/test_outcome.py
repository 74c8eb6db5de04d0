"""The sampled-outcome rule: weights by hand, and what holds for all rewards."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.leret.explore import outcome_weights, sample_outcomes

REWARDS = st.lists(st.sampled_from([0.0, 0.25, 0.333333, 0.5, 0.583333, 0.833333, 1.0]), max_size=12)


@pytest.mark.parametrize(
    ("rewards", "weights"),
    [
        ([], []),
        ([1.0, 1.0], [0.0, 0.0]),
        ([0.0, 0.0], [0.5, 0.5]),  # a lone level of 0 still has the top's bonus
        # levels 0.5 (+0.5) and 0.25: 1.0 against 0.25
        ([0.5, 0.25], [0.8, 0.2]),
        # level 0.25 has two samples, which share its 0.2; reward 1 is out
        ([0.25, 1.0, 0.5, 0.25], [0.1, 0.0, 0.8, 0.1]),
        # a level of 0 below another has no weight
        ([0.0, 0.5, 0.0], [0.0, 1.0, 0.0]),
    ],
)
def test_weights_by_hand(rewards, weights):
    assert outcome_weights(rewards) == pytest.approx(weights)


@given(REWARDS)
def test_weights_are_a_distribution_or_nothing(rewards):
    weights = outcome_weights(rewards)
    assert len(weights) == len(rewards)
    assert all(weight >= 0 for weight in weights)
    assert sum(weights) == pytest.approx(1.0 if any(reward < 1 for reward in rewards) else 0.0)
    assert all(weight == 0 for weight, reward in zip(weights, rewards, strict=True) if reward == 1)


@given(REWARDS)
def test_a_better_sample_of_as_rare_a_level_is_likelier(rewards):
    weights, counts = outcome_weights(rewards), Counter(rewards)
    open_ = [(r, w) for r, w in zip(rewards, weights, strict=True) if r < 1]
    for better, high in open_:
        for worse, low in open_:
            if better > worse and counts[better] == counts[worse]:
                assert high > low or high == low == 0


@given(REWARDS, st.integers(1, 15), st.integers(0, 5))
def test_samples_are_distinct_unfinished_and_repeatable(rewards, n, seed):
    chosen = sample_outcomes(rewards, n, seed)
    assert chosen == sample_outcomes(rewards, n, seed)
    assert len(chosen) == len(set(chosen)) <= n
    assert all(rewards[index] < 1 for index in chosen)
    assert bool(chosen) == any(reward < 1 for reward in rewards)


def test_draws_follow_the_weights():
    rewards = [0.25, 1.0, 0.5, 0.25]
    drawn = Counter(sample_outcomes(rewards, 1, seed)[0] for seed in range(4000))
    assert [drawn[index] / 4000 for index in range(4)] == pytest.approx([0.1, 0.0, 0.8, 0.1], abs=0.02)
