"""The figures of a fit: means and calibration errors of tokens, resampled by sequence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmtools.ats.cache import summarise
from lmtools.ats.measure import TokenScores, compare_methods, joined, logit_scores, multiplier_scores
from lmtools.ats.recipe import LossSettings
from lmtools.metrics.calibration import ece


def scores(confidence, correct, nll=None):
    means = {} if nll is None else {"nll": np.array(nll)}
    return TokenScores(means, np.array(confidence), np.array(correct))


def test_by_hand():
    """Two bins: 0.9, 0.9 with one right: gap 0.8 / 3; 0.2 and wrong: gap 0.2 / 3."""
    both = {
        "uncalibrated": scores([0.9, 0.9, 0.2], [True, False, False], [1.0, 2.0, 3.0]),
        "Platt": scores([0.5, 0.5, 0.0], [True, False, False]),
    }
    (base, mapped), differences = compare_methods(both, [0, 0, 1], 200, 0)
    assert base.metrics["token-ece"].value == pytest.approx(1 / 3)
    assert base.metrics["nll"].value == pytest.approx(2)
    assert base.metrics["nll"].n == 3
    assert mapped.metrics["token-ece"].value == pytest.approx(0)
    assert set(mapped.metrics) == {"token-ece"}
    [one] = differences
    assert (one.a, one.b, one.metric) == ("Platt", "uncalibrated", "token-ece")
    assert one.value == pytest.approx(-1 / 3)


def test_the_head_is_compared_with_every_other_method():
    names = ("uncalibrated", "scalar (NLL)", "transformer", "linear")
    methods = {name: scores([0.9, 0.2], [True, False], [1.0, 2.0]) for name in names}
    _, differences = compare_methods(methods, [0, 1], 50, 0)
    pairs = [(d.a, d.b) for d in differences if d.metric == "nll"]
    assert pairs == [
        ("scalar (NLL)", "uncalibrated"), ("transformer", "uncalibrated"), ("linear", "uncalibrated"),
        ("transformer", "scalar (NLL)"), ("transformer", "linear"),
    ]  # fmt: skip
    assert {d.method for d in differences if d.metric == "nll"} == {"student-hall, clustered by text"}
    assert {(d.n, d.clusters) for d in differences} == {(2, 2)}


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 4)), min_size=1, max_size=40),
)
def test_the_token_error_is_the_metric_and_lies_in_its_interval(tokens):
    confidence, correct, clusters = map(list, zip(*tokens, strict=True))
    [row], _ = compare_methods({"uncalibrated": scores(confidence, correct)}, clusters, 100, 0)
    found = row.metrics["token-ece"]
    assert found.value == pytest.approx(float(ece(confidence, correct)), abs=1e-9)
    assert 0 <= found.low <= found.high <= 1
    assert found.n == len(tokens)


def test_multipliers_and_logits_give_the_same_scores():
    logits = torch.randn(12, 30, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.cat([logits.argmax(-1)[:6], torch.arange(6)])
    summary = summarise(logits, labels)
    s = torch.full((12,), 0.6)
    a = multiplier_scores(summary, s, LossSettings(name="cross_entropy"), masked=3)
    b = joined([logit_scores(0.6 * logits[:5], labels[:5]), logit_scores(0.6 * logits[5:], labels[5:])])
    assert np.allclose(a.means["nll"], b.means["nll"], atol=1e-3)
    assert np.allclose(a.means["loss"], a.means["nll"])
    assert np.allclose(a.confidence, b.confidence, atol=1e-3)
    assert (a.correct == b.correct).all()
    assert np.allclose(a.means["multiplier"], 0.6)
