"""Features worked by hand."""

import math

import pytest
import torch

from lmtools.ats.cache import features

HIDDEN = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
LOGITS = torch.tensor([[0.0, 2.0, 4.0], [5.0, 5.0, -1.0]])
ROWS = torch.tensor([[10.0, 11.0], [20.0, 21.0], [30.0, 31.0]])


def test_each_feature():
    assert features(["hidden"], HIDDEN).tolist() == HIDDEN.tolist()
    assert features(["max-logit"], HIDDEN, LOGITS).tolist() == [[4.0], [5.0]]
    # Variances: ((-2)^2 + 0 + 2^2) / 3 = 8/3, and (2^2 + 2^2 + (-4)^2) / 3 = 8.
    spread = [0.5 * math.log(8 / 3), 0.5 * math.log(8)]
    assert features(["log-std"], HIDDEN, LOGITS)[:, 0].tolist() == pytest.approx(spread)
    assert features(["argmax-row"], HIDDEN, LOGITS, ROWS).tolist() == [[30.0, 31.0], [10.0, 11.0]]


def test_joined_in_the_order_asked_for():
    found = features(["max-logit", "hidden"], HIDDEN, LOGITS)
    assert found.tolist() == [[4.0, 1.0, 2.0], [5.0, 3.0, 4.0]]


def test_bfloat16_becomes_float32():
    found = features(["hidden", "max-logit"], HIDDEN.bfloat16()[None], LOGITS.bfloat16()[None])
    assert found.dtype == torch.float32
    assert found.shape == (1, 2, 3)


def test_flat_logits_have_a_finite_log_std():
    assert torch.isfinite(features(["log-std"], HIDDEN, torch.zeros(2, 5))).all()


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="max-logit needs logits"):
        features(["max-logit"], HIDDEN)
    with pytest.raises(ValueError, match="argmax-row needs the output"):
        features(["argmax-row"], HIDDEN, LOGITS)
