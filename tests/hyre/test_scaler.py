"""Features on one scale, and what is no feature."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmtools.core.errors import ModelError
from lmtools.hyre.ensemble import Scaler

FEATURES = arrays(
    np.float32, st.tuples(st.integers(2, 9), st.just(3)), elements=st.floats(-100, 100, width=32)
)


def test_by_hand():
    standard = Scaler.of(np.array([[1, 5], [3, 5]], dtype=np.float32))
    assert standard.mean.tolist() == [2, 5]
    assert standard.scale.tolist() == [1, 0]  # the second is constant
    assert standard(np.array([[4, 7]], dtype=np.float32)).tolist() == [[2, 0]]


@given(FEATURES)
def test_mean_0_and_deviation_1(features):
    found = Scaler.of(features)(features)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    varied = features.astype(np.float64).std(axis=0) > 1e-2
    assert found[:, varied].mean(axis=0) == pytest.approx(np.zeros(varied.sum()), abs=1e-2)
    assert found[:, varied].std(axis=0) == pytest.approx(np.ones(varied.sum()), rel=1e-2)


@given(FEATURES)
def test_rows_do_not_depend_on_each_other(features):
    standard = Scaler.of(features)
    rows = np.concatenate([standard(row[None]) for row in features])
    assert rows.tolist() == standard(features).tolist()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite(wrong):
    features = np.ones((4, 3), dtype=np.float32)
    standard = Scaler.of(features)
    features[2, 1] = wrong
    for use in (Scaler.of, standard):
        with pytest.raises(ModelError, match=r"text 3 .*\(1 of 4 texts\)"):
            use(features)


def test_features_of_another_model():
    standard = Scaler.of(np.ones((4, 3), dtype=np.float32))
    with pytest.raises(ModelError, match="5 features, where the ensemble has 3"):
        standard(np.ones((4, 5), dtype=np.float32))


def test_no_texts():
    assert Scaler.of(np.ones((4, 3), dtype=np.float32))(np.ones((0, 3), dtype=np.float32)).shape == (0, 3)
