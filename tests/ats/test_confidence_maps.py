"""Confidence maps: worked by hand, against scikit-learn, and what holds for any data."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmtools.ats.baselines import (
    CONFIDENCE_MAP,
    Line,
    Logistic,
    Steps,
    fit_histogram,
    fit_isotonic,
    fit_maps,
    fit_platt,
    fit_scaling_binning,
    log_odds,
    top_confidence,
)
from lmtools.ats.cache import summarise
from lmtools.core.errors import DataError

NEVER_FALLING = ("Platt", "scaling-binning", "isotonic")
EVERYWHERE = np.array([0.0, 1e-30, 1e-7, 0.1, 0.25, 0.5, 0.75, 0.9, 1 - 1e-7, 1.0])

probabilities = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
data = st.lists(st.tuples(probabilities, st.booleans()), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(data)
def test_any_data_give_maps_that_are_probabilities_and_come_back_from_json(pairs):
    confidence, correct = (np.array(column) for column in zip(*pairs, strict=True))
    for name, found in fit_maps(confidence, correct).items():
        values = found(EVERYWHERE)
        assert values.shape == EVERYWHERE.shape
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1)).all()
        if name in NEVER_FALLING:
            assert (np.diff(values) >= -1e-12).all()
        back = CONFIDENCE_MAP.validate_python(json.loads(json.dumps(found.model_dump(mode="json"))))
        assert back == found
        assert np.array_equal(back(EVERYWHERE), values)


@pytest.mark.parametrize("n", [1, 2, 100])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_gives_one_level(n, right):
    confidence = np.linspace(0.2, 0.9, n)
    maps = fit_maps(confidence, np.full(n, right))
    # Platt's targets hold back by one example of each kind; of halves, by those of a half.
    level = (n + 1) / (n + 2) if right else 1 / (n + 2)
    assert maps["Platt"](EVERYWHERE) == pytest.approx(level, abs=1e-5)
    half = (n + 1) // 2
    level = (half + 1) / (half + 2) if right else 1 / (half + 2)
    assert maps["scaling-binning"](EVERYWHERE) == pytest.approx(level, abs=1e-5)
    for name in ("histogram binning", "isotonic"):
        assert maps[name](EVERYWHERE) == pytest.approx(float(right))


def overconfident(n=20_000, seed=0):
    """Confidences whose log-odds are twice, less a half, what they should be."""
    random = np.random.default_rng(seed)
    confidence = 1 / (1 + np.exp(-random.normal(1.5, 2, n)))
    truth = 1 / (1 + np.exp(-(0.5 * log_odds(confidence) - 0.5)))
    return confidence, random.random(n) < truth, truth


def test_platt_finds_the_logistic_it_was_drawn_from():
    confidence, correct, _ = overconfident()
    found = fit_platt(confidence, correct)
    assert (found.slope, found.intercept) == pytest.approx((0.5, -0.5), abs=0.06)


def test_platt_is_the_minimum_of_its_loss():
    confidence, correct, _ = overconfident(400)
    found = fit_platt(confidence, correct)
    n = correct.sum()
    target = np.where(correct, (n + 1) / (n + 2), 1 / (400 - n + 2))
    residual = found(confidence) - target  # the gradient's common factor
    assert residual.mean() == pytest.approx(0, abs=1e-5)
    assert (residual * log_odds(confidence)).mean() == pytest.approx(0, abs=1e-5)


def test_a_confidence_that_runs_backwards_becomes_a_level():
    confidence, correct = np.array([0.1, 0.2, 0.8, 0.9]), np.array([True, True, False, False])
    assert fit_platt(confidence, correct) == Logistic(slope=0.0, intercept=0.0)
    assert fit_isotonic(confidence, correct)(EVERYWHERE) == pytest.approx(0.5)


def test_every_map_brings_confidences_nearer_to_the_truth():
    confidence, correct, truth = overconfident()
    off = np.abs(confidence - truth).mean()
    for found in fit_maps(confidence, correct).values():
        assert np.abs(found(confidence) - truth).mean() < 0.25 * off


def test_histogram_bins_worked_by_hand():
    confidence = np.array([0.9, 0.1, 0.3, 0.5, 0.7, 0.2])
    correct = np.array([True, False, True, True, False, False])
    found = fit_histogram(confidence, correct, bins=3)
    # In order: .1 wrong, .2 wrong | .3 right, .5 right | .7 wrong, .9 right; an edge belongs below.
    assert found == Steps(edges=(0.2, 0.5), values=(0.0, 1.0, 0.5))
    assert found([0.0, 0.2, 0.2000001, 0.5, 0.6, 1.0]).tolist() == [0, 0, 1, 1, 0.5, 0.5]


def test_equal_confidences_share_a_bin():
    confidence = np.array([0.4] * 9 + [1.0])
    correct = np.array([True] * 3 + [False] * 6 + [True])
    assert fit_histogram(confidence, correct, bins=5) == Steps(edges=(0.4,), values=(3 / 9, 1.0))


def test_scaling_binning_gives_means_of_the_scaling_not_of_the_labels():
    confidence, correct, _ = overconfident(2000)
    order = np.random.default_rng(3).permutation(2000)
    scaling = fit_platt(confidence[order[:1000]], correct[order[:1000]])
    found = fit_scaling_binning(confidence, correct, bins=4, seed=3)
    held = np.sort(scaling(confidence[order[1000:]]))
    assert found.values == pytest.approx(held.reshape(4, 250).mean(axis=1))


def test_isotonic_is_that_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    confidence, correct, _ = overconfident(500)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct)
    assert fit_isotonic(confidence, correct)(EVERYWHERE) == pytest.approx(theirs.predict(EVERYWHERE))


def test_maps_take_numbers_and_arrays_of_any_shape():
    for found in (
        Logistic(slope=1.0, intercept=0.0),
        Line(x=(0.5,), y=(0.25,)),
        Steps(edges=(), values=(1,)),
    ):
        assert found(0.5).shape == ()
        assert found([[0.0, 1.0]]).shape == (1, 2)
    assert Logistic(slope=1.0, intercept=0.0)([0.0, 0.3, 1.0]) == pytest.approx([0, 0.3, 1], abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "steps", "edges": [0.5, 0.2], "values": [0, 0, 1]},
        {"kind": "steps", "edges": [0.5], "values": [0, 0, 1]},
        {"kind": "steps", "edges": [0.5], "values": [0, 2]},
        {"kind": "line", "x": [0, 1], "y": [0]},
        {"kind": "logistic", "slope": math.inf, "intercept": 0},
        {"kind": "logistic", "slope": 1, "intercept": 0, "more": 1},
        {"kind": "spline"},
    ],
)
def test_what_is_no_map_is_refused(value):
    with pytest.raises(ValidationError):
        CONFIDENCE_MAP.validate_python(value)


def test_bad_data_are_errors():
    for fit in (fit_platt, fit_histogram, fit_scaling_binning, fit_isotonic):
        with pytest.raises(DataError, match="no response tokens"):
            fit(np.zeros(0), np.zeros(0, dtype=bool))
        with pytest.raises(DataError, match="not a probability"):
            fit(np.array([0.5, np.nan]), np.array([True, False]))
        with pytest.raises(ValueError, match=r"\(n,\) both"):
            fit(np.array([0.5]), np.array([True, False]))


def test_the_confidence_of_a_token_is_its_highest_probability():
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40, 50, generator=random)
    labels = torch.randint(0, 50, (40,), generator=random)
    labels[:20] = logits[:20].argmax(-1)
    confidence, correct = top_confidence(summarise(logits, labels))
    assert confidence == pytest.approx(logits.softmax(-1).amax(-1).numpy(), rel=2e-3)
    assert (correct == (logits.argmax(-1) == labels).numpy()).all()


def test_a_certain_token_has_confidence_one_and_no_more():
    logits = torch.full((1, 100), -1000.0)
    logits[0, 3] = 1000.0
    confidence, correct = top_confidence(summarise(logits, torch.tensor([3])))
    assert confidence.tolist() == [1.0]
    assert correct.tolist() == [True]
