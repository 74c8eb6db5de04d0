"""Training losses by hand and against a plain loop over the heads."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lmtools.hyre.heads import (
    bradley_terry,
    correlation_penalty,
    cross_entropy,
    mixture_bradley_terry,
    squared_error,
)

LN2, LN3 = math.log(2), math.log(3)
SEEDS = st.integers(0, 2**31)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def test_bradley_terry_by_hand():
    # Of a head -log sigmoid(0) = ln 2, and (ln 4/3 + ln 4) / 2 of another; they are summed.
    margins = torch.tensor([[0.0, LN3], [0.0, -LN3]])
    assert bradley_terry(margins).item() == pytest.approx(LN2 + (math.log(4 / 3) + math.log(4)) / 2)


@given(SEEDS)
def test_each_head_has_the_gradient_it_has_alone(seed):
    margins = normal(seed, 5, 3).requires_grad_()
    bradley_terry(margins).backward()
    total = 0.0
    for head in range(3):
        own = margins.detach()[:, head].clone().requires_grad_()
        loss = -functional.logsigmoid(own).mean()
        loss.backward()
        total += loss.item()
        assert torch.allclose(margins.grad[:, head], own.grad)
    assert bradley_terry(margins).item() == pytest.approx(total)


@given(SEEDS)
def test_cross_entropy_against_a_loop(seed):
    logits = normal(seed, 6, 3, 4)
    labels = torch.randint(4, (6,), generator=torch.Generator().manual_seed(seed))
    expected = sum(functional.cross_entropy(logits[:, head], labels).item() for head in range(3))
    assert cross_entropy(logits, labels).item() == pytest.approx(expected)


@given(SEEDS)
def test_squared_error_against_a_loop(seed):
    predictions, targets = normal(seed, 6, 3), normal(seed + 1, 6)
    expected = sum(((predictions[:, head] - targets) ** 2).mean().item() / 2 for head in range(3))
    assert squared_error(predictions, targets).item() == pytest.approx(expected)


def test_squared_error_by_hand():
    assert squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([1.0])).item() == pytest.approx(2.0)


def test_mixture_by_hand():
    """Of two equal shares one head says 1/2 and the other 3/4: 5/8 together."""
    found = mixture_bradley_terry(torch.tensor([[0.0, LN3]]), torch.zeros(2), entropy=2.0)
    assert found.item() == pytest.approx(-math.log(5 / 8) - 2 * LN2)
    # Shares of 1/4 and 3/4.
    found = mixture_bradley_terry(torch.tensor([[0.0, LN3]]), torch.tensor([0.0, LN3]), entropy=1.0)
    share = 2 * LN2 - 0.75 * LN3
    assert found.item() == pytest.approx(-math.log(0.25 * 0.5 + 0.75 * 0.75) - share, abs=1e-6)


@given(SEEDS)
def test_a_mixture_of_one_is_bradley_terry(seed):
    margins = normal(seed, 5, 1)
    found = mixture_bradley_terry(margins, torch.zeros(1, dtype=torch.float64), entropy=1.0)
    assert found.item() == pytest.approx(bradley_terry(margins).item())


@given(SEEDS)
def test_a_mixture_needs_one_head_that_explains_a_pair(seed):
    margins, shares = normal(seed, 5, 4), torch.zeros(4, dtype=torch.float64)
    found = mixture_bradley_terry(margins, shares, entropy=0.0).item()
    best = functional.softplus(-margins.max(dim=1).values).mean().item()
    assert best - 1e-9 <= found <= best + math.log(4) + 1e-9


def test_the_entropy_pulls_shares_together():
    shares = torch.tensor([0.0, 2.0], requires_grad=True)
    mixture_bradley_terry(torch.zeros(3, 2), shares, entropy=1.0).backward()
    assert shares.grad[0] < 0 < shares.grad[1]


def test_mixture_of_hopeless_heads_is_finite():
    margins = torch.full((2, 3), -1e4, requires_grad=True)
    found = mixture_bradley_terry(margins, torch.zeros(3), entropy=1.0)
    found.backward()
    assert found.item() == pytest.approx(1e4 - math.log(3), rel=1e-6)
    assert torch.isfinite(margins.grad).all()


@given(SEEDS, st.integers(2, 6), st.integers(3, 9))
def test_the_penalty_is_the_mean_squared_correlation(seed, heads, count):
    outputs = normal(seed, count, heads)
    correlations = np.corrcoef(outputs.numpy(), rowvar=False)
    others = ~np.eye(heads, dtype=bool)
    expected = np.square(correlations[others]).mean()
    assert correlation_penalty(outputs).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("count", [3, 20])
def test_the_penalty_of_heads_that_agree(count):
    column = normal(0, count, 1)
    assert correlation_penalty(torch.cat([column, -2 * column, column + 1], dim=1)).item() == pytest.approx(1)


def test_the_penalty_where_nothing_correlates():
    assert correlation_penalty(torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])) == 0
    assert correlation_penalty(torch.ones(4, 1)) == 0
    assert correlation_penalty(torch.ones(1, 4)) == 0


def test_the_penalty_of_constant_heads_is_finite():
    """Heads that say the same of every text correlate with none."""
    outputs = torch.ones(5, 3, requires_grad=True)
    found = correlation_penalty(outputs)
    found.backward()
    assert found.item() == 0
    assert correlation_penalty(torch.cat([torch.ones(5, 2), normal(0, 5, 1)], dim=1)).item() == 0
    assert torch.isfinite(outputs.grad).all()
