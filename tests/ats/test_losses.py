"""Losses worked by hand on three tokens' logits, and against their definitions on full log-probabilities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.ats.cache import summarise
from lmtools.ats.losses import (
    cross_entropy,
    full_smoothing,
    selective_smoothing,
    selective_smoothing_code,
    smoothing,
)

# Probabilities at multiplier 1: 1/2, 1/4, 1/4 of each; the first token is right, the second and third wrong.
HALF, QUARTER = math.log(2), math.log(4)
LOGITS = torch.tensor([[HALF, 0.0, 0.0]] * 3)
LABELS = torch.tensor([0, 1, 2])
SUMMARY = summarise(LOGITS, LABELS)
ONE = torch.ones(3)
UNIFORM = (HALF + 2 * QUARTER) / 3
"""-(1/V) sum_i log p_i of each token."""


def test_cross_entropy():
    assert cross_entropy(SUMMARY, ONE).tolist() == pytest.approx([HALF, QUARTER, QUARTER], abs=1e-5)
    # At multiplier 2 the odds are 4 : 1 : 1.
    twice = cross_entropy(SUMMARY, 2 * ONE).tolist()
    assert twice == pytest.approx([math.log(6 / 4), math.log(6), math.log(6)], abs=1e-5)


def test_smoothing():
    assert smoothing(SUMMARY, ONE).tolist() == pytest.approx([UNIFORM] * 3, abs=1e-5)


def test_smoothing_towards_the_most_probable():
    z = torch.tensor([[0.0] + [-1.0] * 3 + [-30.0] * 60])
    summary = summarise(z, torch.tensor([0]))
    partition = math.log(1 + 3 * math.exp(-1) + 60 * math.exp(-30))
    assert smoothing(summary, torch.ones(1), top_k=4).item() == pytest.approx(partition + 3 / 4, abs=1e-4)
    assert smoothing(summary, torch.ones(1), top_k=16).item() == pytest.approx(
        partition + (3 + 12 * 30) / 16, abs=1e-4
    )


def test_a_top_k_that_was_not_kept():
    with pytest.raises(ValueError, match="top_k must be one of"):
        smoothing(SUMMARY, ONE, top_k=5)


def test_full_smoothing():
    found = full_smoothing(SUMMARY, ONE, alpha=0.25).tolist()
    expected = [0.75 * own + 0.25 * UNIFORM for own in (HALF, QUARTER, QUARTER)]
    assert found == pytest.approx(expected, abs=1e-5)


def test_selective_smoothing_is_the_papers():
    found = selective_smoothing(SUMMARY, ONE, alpha=0.6).tolist()
    assert found == pytest.approx([0.4 * HALF, 0.6 * UNIFORM, 0.6 * UNIFORM], abs=1e-5)


@pytest.mark.parametrize(("masked", "n"), [(0, 3), (5, 8)])
def test_the_public_codes_form(masked, n):
    """Each group's mean times the other group's share, where masked tokens count as wrong."""
    right, wrong = 0.5 * HALF, 0.5 * UNIFORM
    expected = right * (n - 1) / n + wrong * 1 / n
    found = selective_smoothing_code(SUMMARY, ONE, alpha=0.5, masked=masked)
    assert found.shape == (3,)
    assert found.mean().item() == pytest.approx(expected, abs=1e-5)


def test_the_public_codes_form_when_all_are_right_or_all_wrong():
    right, wrong = SUMMARY[torch.tensor([0])], SUMMARY[torch.tensor([1, 2])]
    # All right: the share of the wrong is 0, and so is what the code learns from them; and the reverse.
    assert selective_smoothing_code(right, ONE[:1], alpha=0.5, masked=0).tolist() == [0]
    assert selective_smoothing_code(wrong, ONE[:2], alpha=0.5, masked=0).tolist() == [0, 0]
    found = selective_smoothing_code(right, ONE[:1], alpha=0.5, masked=1).item()
    assert found == pytest.approx(0.5 * HALF / 2, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.floats(0.2, 12), alpha=st.floats(0, 1))
def test_each_form_against_its_definition(seed, size, alpha):
    generator = torch.Generator().manual_seed(seed)
    z = size * torch.randn(6, 200, generator=generator)
    labels = torch.where(torch.arange(6) < 3, z.argmax(dim=-1), torch.randint(200, (6,), generator=generator))
    s = (2 * torch.randn(6, generator=generator)).clamp(-2.9, 2.3).exp()
    logprobs = (s[:, None] * z).double().log_softmax(dim=-1)
    entropy = -logprobs.gather(1, labels[:, None])[:, 0]
    uniform = -logprobs.mean(dim=-1)
    right = z.argmax(dim=-1) == labels
    summary = summarise(z, labels)
    chosen = torch.where(right, (1 - alpha) * entropy, alpha * uniform)
    pairs = [
        (cross_entropy(summary, s), entropy),
        (smoothing(summary, s), uniform),
        (full_smoothing(summary, s, alpha), (1 - alpha) * entropy + alpha * uniform),
        (selective_smoothing(summary, s, alpha), chosen),
    ]
    for found, expected in pairs:
        assert (found - expected).abs().max() < 2e-3


def test_gradients_by_the_multiplier():
    """d/ds of -log p_y is g_y minus the mean gap. Here gaps are 0, h, h of weights 1/2, 1/4, 1/4."""
    s = ONE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(SUMMARY, s).sum(), s, retain_graph=True)
    assert gradient.tolist() == pytest.approx([-HALF / 2, HALF / 2, HALF / 2], abs=1e-4)
    (gradient,) = torch.autograd.grad(smoothing(SUMMARY, s).sum(), s)
    assert gradient.tolist() == pytest.approx([2 / 3 * HALF - HALF / 2] * 3, abs=1e-4)
    (gradient,) = torch.autograd.grad(selective_smoothing(SUMMARY, s, 0.5).sum(), s)
    expected = [-HALF / 4, (2 / 3 - 1 / 2) * HALF / 2, (2 / 3 - 1 / 2) * HALF / 2]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-4)


def test_selective_smoothing_sharpens_the_right_and_flattens_the_wrong():
    s = ONE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(selective_smoothing(SUMMARY, s, 0.5).sum(), s)
    assert gradient[0] < 0 < gradient[1]
