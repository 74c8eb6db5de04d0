"""IPO on summed log-probabilities, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmtools.leret.trainer import ipo_loss


def test_by_hand():
    # beta 0.05: the target margin is 1 / (2 * 0.05) = 10 nats
    assert ipo_loss(torch.tensor([0.0, 10.0, 7.0, -2.0]), 0.05).tolist() == pytest.approx([100, 0, 9, 144])
    # beta 0.5: the target margin is 1
    assert ipo_loss(torch.tensor([1.0, 3.0]), 0.5).tolist() == pytest.approx([0, 4])


@given(st.floats(-20, 20), st.sampled_from([0.05, 0.1, 0.5, 1.0]))
def test_the_gradient_pulls_towards_the_margin(delta, beta):
    value = torch.tensor([delta], dtype=torch.float64, requires_grad=True)
    ipo_loss(value, beta).sum().backward()
    assert value.grad.item() == pytest.approx(2 * (delta - 1 / (2 * beta)))
