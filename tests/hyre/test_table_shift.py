"""Where a table is cut: the strongest feature, equal values on one side, and rows on both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from lmtools.data.tabular import Table
from lmtools.hyre.tabular import rank_correlations, shifted


def table(features, target):
    features = np.asarray(features, dtype=float)
    names = tuple(map(str, range(features.shape[1])))
    return Table(features, np.asarray(target, dtype=float), names)


def test_the_strongest_feature_is_cut_at_the_share():
    features = np.column_stack([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], -np.arange(10)])
    feature, low = shifted(table(features, np.arange(10) ** 3), 0.6)
    assert feature == 1
    assert low.tolist() == [False] * 4 + [True] * 6


def test_equal_values_stay_on_one_side():
    # Shares at or below 1, 2, 3: 1/8, 7/8, 1. Both lower ones are possible; below the first, nothing varies.
    feature, low = shifted(table([[1], [2], [2], [2], [2], [2], [2], [3]], range(8)), 0.3)
    assert feature == 0
    assert low.sum() == 7


def test_a_feature_of_two_values_only_where_there_is_no_other():
    two = np.repeat([0.0, 1.0], 4)
    target = two
    assert shifted(table(two[:, None], target), 0.9)[1].tolist() == [True] * 4 + [False] * 4
    assert shifted(table(np.column_stack([two, [1, 1, 2, 3, 3, 1, 2, 3]]), target), 0.5)[0] == 1


def test_features_that_never_vary():
    with pytest.raises(ValueError, match="no feature has two values"):
        shifted(table([[1.0], [1.0]], [0, 1]), 0.5)


@st.composite
def tables(draw):
    rows, columns = draw(st.integers(2, 30)), draw(st.integers(1, 4))
    # Few different values, for many ties.
    values = draw(arrays(np.float64, (rows, columns + 1), elements=st.integers(-3, 3).map(float)))
    return table(values[:, :-1], values[:, -1])


@given(tables(), st.floats(0.01, 0.99))
def test_both_sides_have_rows_and_do_not_overlap(found, share):
    if not (np.ptp(found.features, axis=0) > 0).any():
        return
    feature, low = shifted(found, share)
    column = found.features[:, feature]
    assert 0 < low.sum() < len(low)
    assert column[low].max() < column[~low].min()
    if len(np.unique(column)) > 2:
        assert len(np.unique(column[low])) > 1


@given(st.integers(10, 60), st.floats(0.3, 0.9), st.integers(0, 9))
def test_without_ties_the_share_is_met(rows, share, seed):
    random = np.random.default_rng(seed)
    _, low = shifted(table(random.permuted(np.tile(np.arange(rows), (2, 1)), axis=1).T, range(rows)), share)
    assert abs(low.mean() - share) <= 0.5 / rows + 1e-9


@given(arrays(np.float64, (12, 3), elements=st.integers(-4, 4).map(float)))
def test_rank_correlations_are_those_of_scipy(values):
    found = rank_correlations(values[:, :2], values[:, 2])
    for place in range(2):
        if np.ptp(values[:, place]) and np.ptp(values[:, 2]):
            np.testing.assert_allclose(
                found[place], spearmanr(values[:, place], values[:, 2]).statistic, atol=1e-9
            )
        else:
            assert found[place] == 0
