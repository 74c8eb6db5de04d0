"""Rows and differences, from outcomes made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.hyre.methods import Measured
from lmtools.hyre.recipe import EvalSettings, HyreRecipe
from lmtools.hyre.results import Target, result_rows

NONE = np.full(2, np.nan)


def recipe(draws=2):
    return HyreRecipe(eval=EvalSettings(draws=draws, resamples=100))


def target(name, correct, effective=None, disagreement=None):
    right = {row: np.array(values, dtype=np.float64) for row, values in correct.items()}
    heads = dict.fromkeys(right, NONE) | {row: np.array(v) for row, v in (effective or {}).items()}
    pairs = next(iter(right.values())).shape[1]
    return Target(name, pairs, Measured(right, heads), disagreement or {})


def of(differences, a, b):
    return {one.metric: one for one in differences if (one.a, one.b) == (a, b)}


N = np.nan
A = target(
    "a",
    {
        "hyre/pca @5": [[1, 1, N, N], [N, N, 1, 0]],
        "uniform/pca @0": [[1, 0, N, N], [N, N, 0, 0]],
        "logistic @5": [[1, 1, N, N], [N, N, 1, 0]],
        "logistic @1": [[0, 0, N, N], [N, N, 0, 0]],
    },
    {"hyre/pca @5": [2.0, 4.0]},
    {"hyre/pca": 0.25},
)
B = target(
    "b", {"hyre/pca @5": [[0, N], [N, 0.5]], "uniform/pca @0": [[1, N], [N, 1]]}, {}, {"hyre/pca": 0.75}
)


def test_rows_by_hand():
    rows, _ = result_rows([A, B], recipe())
    assert [row.name for row in rows] == ["hyre/pca @5", "uniform/pca @0", "logistic @5", "logistic @1"]
    found = rows[0].metrics
    assert found["a/accuracy"].value == pytest.approx(3 / 4)
    assert found["b/accuracy"].value == pytest.approx(1 / 4)
    assert found["accuracy"].value == pytest.approx(1 / 2)
    assert [found[name].n for name in ("a/accuracy", "b/accuracy", "accuracy")] == [4, 2, 6]
    assert found["spread"].value == pytest.approx((0.25 + 0.25) / 2)
    assert found["effective-heads"].value == pytest.approx(3)
    assert found["disagreement"].value == pytest.approx(0.5)
    assert "effective-heads" not in rows[1].metrics
    assert "disagreement" not in rows[1].metrics
    assert set(rows[2].metrics) == {"accuracy", "a/accuracy", "spread"}


def test_differences_by_hand():
    _, differences = result_rows([A, B], recipe())
    found = of(differences, "hyre/pca @5", "uniform/pca @0")
    assert found["accuracy"].value == pytest.approx((0.5 - 0.75) / 2)
    assert found["wins"].value == pytest.approx(1 / 2)
    assert found["wins"].n == 2
    assert found["accuracy"].low <= found["accuracy"].value <= found["accuracy"].high


def test_a_difference_is_over_the_targets_of_both():
    _, differences = result_rows([A, B], recipe())
    found = of(differences, "hyre/pca @5", "logistic @5")
    assert found["accuracy"].value == 0
    assert found["accuracy"].low < -0.5 < 0.5 < found["accuracy"].high  # four pairs
    assert (found["accuracy"].n, found["wins"].n, found["wins"].value) == (4, 1, 0)


def test_only_as_many_labels_or_none_are_compared():
    _, differences = result_rows([A, B], recipe())
    assert {(one.a, one.b) for one in differences} == {
        ("hyre/pca @5", "uniform/pca @0"), ("hyre/pca @5", "logistic @5"),
    }  # fmt: skip


def test_other_ensembles_are_compared_with_their_own_baselines():
    names = ["hyre/pca @1", "hyre/pca (bald) @1", "hyre/random @1", "uniform/pca @0", "uniform/random @0",
             "single-head @0", "ridge @1"]  # fmt: skip
    one = target("a", {name: [[1, N], [N, 0]] for name in names})
    _, differences = result_rows([one], recipe())
    compared: dict[str, set[str]] = {}
    for found in differences:
        compared.setdefault(found.a, set()).add(found.b)
    assert compared["hyre/pca @1"] == set(names) - {"hyre/pca @1"}
    assert compared["hyre/random @1"] == {"uniform/random @0", "single-head @0", "ridge @1"}
    assert compared["hyre/pca (bald) @1"] == {"uniform/pca @0", "single-head @0", "ridge @1"}


def test_active_against_random_examples():
    one = target("a", {"hyre/pca @1": [[1, N], [N, 0]], "hyre/pca (bald) @1": [[1, N], [N, 1]]})
    _, differences = result_rows([one], recipe())
    found = of(differences, "hyre/pca @1", "hyre/pca (bald) @1")
    assert found["accuracy"].value == pytest.approx(-1 / 2)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9), st.integers(1, 4), st.integers(6, 30))
def test_intervals_hold_the_value(seed, share, draws, pairs):
    rng = np.random.default_rng(seed)
    right = {}
    for row in ("hyre/pca @1", "uniform/pca @0"):
        correct = (rng.random((draws, pairs)) < share).astype(float)
        correct[np.arange(pairs) % 2 == np.arange(draws)[:, None] % 2] = np.nan
        right[row] = correct
    rows, differences = result_rows([target("a", right), target("b", right)], recipe(draws))
    for row in rows:
        for name in ("accuracy", "a/accuracy"):
            found = row.metrics[name]
            assert found.low <= found.value + 1e-9
            assert found.value <= found.high + 1e-9
    found = of(differences, "hyre/pca @1", "uniform/pca @0")["accuracy"]
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
