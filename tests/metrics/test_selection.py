"""AUROC, selective accuracy and the risk-coverage curve."""

import itertools

import numpy as np
import pytest
from graded import graded_answers
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lmtools.metrics.calibration import accuracy, auroc, risk_coverage, selective_accuracy


def test_auroc_by_hand():
    # Right .9, .5; wrong .5, .1: of four pairs three are won and one is a tie.
    assert auroc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0]) == pytest.approx(3.5 / 4)
    assert auroc([0.1, 0.9], [1, 0]) == 0.0
    assert auroc([0.4, 0.4, 0.4], [1, 0, 0]) == 0.5


@pytest.mark.parametrize("right", [[1], [0], [1, 1], [0, 0]])
def test_auroc_of_all_right_or_all_wrong_is_none(right):
    assert auroc([0.5] * len(right), right) is None


@given(graded_answers())
def test_scikit_learn_agrees(graded):
    said, right = graded
    assume(0 < sum(right) < len(right))
    # Rounded, because scikit-learn takes confidences that differ in the last place only as they come.
    said = np.round(said, 6)
    assert auroc(said, right) == pytest.approx(roc_auc_score(right, said))


@given(graded_answers())
def test_auroc_of_the_opposite(graded):
    said, right = map(np.array, graded)
    assume(0 < right.sum() < len(right))
    assert auroc(said, 1 - right) == pytest.approx(1 - auroc(said, right))


def test_selective_accuracy_by_hand():
    said, right = [0.9, 0.7, 0.5, 0.3], [1, 0, 1, 0]
    assert selective_accuracy(said, right, coverage=0.25) == pytest.approx(1)
    assert selective_accuracy(said, right, coverage=0.5) == pytest.approx(0.5)
    assert selective_accuracy(said, right, coverage=0.75) == pytest.approx(2 / 3)
    # Two and a half answers: half of the third, which is right.
    assert selective_accuracy(said, right, coverage=0.625) == pytest.approx(1.5 / 2.5)


@given(graded_answers(max_size=6), st.data())
def test_ties_count_by_their_expectation(graded, data):
    """The mean over all orders of tied rows of the plain accuracy of the first k rows."""
    said, right = [round(c, 1) for c in graded[0]], graded[1]
    k = data.draw(st.integers(1, len(said)))
    accuracies = []
    for order in itertools.permutations(range(len(said))):
        kept = sorted(order, key=lambda i: -said[i])[:k]  # sorted keeps the order of ties
        accuracies.append(np.mean([right[i] for i in kept]))
    found = selective_accuracy(said, right, coverage=k / len(said))
    assert found == pytest.approx(np.mean(accuracies), abs=1e-9)


@given(graded_answers(), st.floats(0.01, 1), st.integers(0, 9))
def test_the_order_of_rows_does_not_matter(graded, coverage, seed):
    said, right = map(np.array, graded)
    shuffled = np.random.default_rng(seed).permutation(len(said))
    value = selective_accuracy(said, right, coverage=coverage)
    assert 0 <= value <= 1
    assert selective_accuracy(said[shuffled], right[shuffled], coverage=coverage) == pytest.approx(value)
    assert selective_accuracy(said, right, coverage=1.0) == pytest.approx(accuracy(said, right))
    assert auroc(said, right) == auroc(said[shuffled], right[shuffled])


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 0.5])


@given(graded_answers())
def test_the_curve_is_selective_accuracy_and_ends_at_all_answers(graded):
    coverage, risk = risk_coverage(*graded)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - accuracy(*graded))
    for share, wrong in zip(coverage, risk, strict=True):
        assert selective_accuracy(*graded, coverage=share) == pytest.approx(1 - wrong, abs=1e-9)


@pytest.mark.parametrize("coverage", [0.0, -1.0, 1.1, float("nan")])
def test_coverage_out_of_range(coverage):
    with pytest.raises(ValueError, match="coverage must lie in"):
        selective_accuracy([0.5], [1], coverage=coverage)


@pytest.mark.parametrize(
    "metric", [auroc, risk_coverage, lambda c, y: selective_accuracy(c, y, coverage=0.5)]
)
def test_bad_answers_are_refused(metric):
    for said, right in (([], []), ([0.5], [1, 0]), ([float("nan")], [1]), ([2.0], [1])):
        with pytest.raises(ValueError, match=r"answer|length|confidence"):
            metric(said, right)
