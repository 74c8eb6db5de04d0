"""Which pairs are labelled and which are tested: never one on both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.hyre.label_draws import draws

KEYS = st.lists(st.sampled_from("abcdefghijkl"), min_size=2, max_size=30).filter(
    lambda keys: len(set(keys)) > 1
)
SHARES = st.floats(0.05, 0.95)
SEEDS = st.integers(0, 1000)


@given(KEYS, SHARES, SEEDS)
def test_no_pair_is_on_both_sides(keys, holdout, seed):
    for draw in draws(keys, 4, holdout, seed, "target"):
        pool, test = [keys[i] for i in draw.pool], [keys[i] for i in draw.test]
        assert not set(pool) & set(test)
        assert set(pool) | set(test) == set(keys)
        assert len(pool) >= 1
        assert len(test) >= 1


@given(KEYS, SHARES, SEEDS)
def test_copies_of_a_pair(keys, holdout, seed):
    """A user labels one of them; all of them are tested on."""
    for draw in draws(keys, 4, holdout, seed, "target"):
        assert len({keys[i] for i in draw.pool}) == len(draw.pool)
        assert sorted(draw.test) == [i for i, key in enumerate(keys) if key in {keys[j] for j in draw.test}]


@given(KEYS, SHARES, SEEDS)
def test_draws_follow_from_the_seed_and_the_target(keys, holdout, seed):
    def told(number: int = 4, *, seed: int = seed, name: str = "target"):
        return [(draw.pool.tolist(), draw.test.tolist()) for draw in draws(keys, number, holdout, seed, name)]

    assert told() == told()
    assert told(2) == told()[:2]  # more draws do not change the first ones


def test_draws_seeds_and_targets_differ():
    keys = [str(i) for i in range(40)]
    orders = [
        tuple(draw.pool)
        for seed, name in ((0, "one"), (1, "one"), (0, "other"))
        for draw in draws(keys, 5, 0.5, seed, name)
    ]
    assert len(set(orders)) == 15


@pytest.mark.parametrize(
    ("pairs", "holdout", "held"), [(50, 0.5, 25), (50, 0.1, 5), (3, 0.01, 1), (3, 0.99, 2)]
)
def test_how_many_are_held_out(pairs, holdout, held):
    draw = draws([str(i) for i in range(pairs)], 1, holdout, 0, "target")[0]
    assert len(draw.test) == held
    assert len(draw.pool) == pairs - held
    assert draw.test.tolist() == sorted(draw.test)


@pytest.mark.parametrize("keys", [[], ["a"], ["a", "a", "a"]])
def test_too_few_pairs(keys):
    with pytest.raises(DataError, match="the user: "):
        draws(keys, 2, 0.5, 0, "the user")


def test_each_pair_is_tested_about_as_often():
    keys = [str(i) for i in range(10)]
    found = draws(keys, 400, 0.5, 0, "target")
    times = [sum(i in draw.test for draw in found) for i in range(10)]
    assert min(times) > 150
    assert max(times) < 250
