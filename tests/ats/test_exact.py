"""Losses on recomputed logits: the same as on summaries, and never tokens x vocabulary."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_cache import OUTPUT, SHAPE, small_cache
from torch.utils._python_dispatch import TorchDispatchMode

from lmtools.ats import batches
from lmtools.ats.batches import ExactSummary, log_partition
from lmtools.ats.losses import loss_function
from lmtools.ats.recipe import LossSettings

CACHE = small_cache()
SEQUENCES = list(range(len(CACHE)))


def logits_of(states):
    return states.float() @ OUTPUT.T


def pair():
    """The summaries of all tokens, and their exact form."""
    summary = CACHE.summary(SEQUENCES)
    states = CACHE.states(CACHE.tokens(SEQUENCES))
    return summary, ExactSummary.of(summary, states, logits_of, SHAPE.vocabulary)


def test_by_hand():
    """Logits 1 and 0, s = 2: Z = 1 + exp(-2); d log Z / ds = -exp(-2) / Z."""
    value, slope = log_partition(torch.tensor([[1.0, 0.0]]), torch.tensor([2.0]))
    z = 1 + math.exp(-2)
    assert float(value) == pytest.approx(math.log(z))
    assert float(slope) == pytest.approx(-math.exp(-2) / z)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.floats(0.05, 10))
def test_the_derivative_is_autograds(logits, multiplier):
    z, s = torch.tensor([logits]), torch.tensor([multiplier], requires_grad=True)
    expected = torch.logsumexp(s[:, None] * (z - z.max()), dim=-1)
    expected.backward()
    value, slope = log_partition(z, s)
    assert float(value) == pytest.approx(float(expected.detach()), abs=1e-4)
    assert float(slope) == pytest.approx(float(s.grad), abs=1e-3, rel=1e-4)


@pytest.mark.parametrize(
    "name", ["selective_smoothing", "selective_smoothing_code", "cross_entropy", "full_smoothing"]
)
@pytest.mark.parametrize("smoothing", ["uniform", "top_k"])
def test_losses_and_gradients_are_those_of_the_summaries(name, smoothing, monkeypatch):
    monkeypatch.setattr(batches, "ROOM", 7 * SHAPE.vocabulary)
    loss_of = loss_function(LossSettings(name=name, smoothing=smoothing), masked=40)
    found = []
    for summary in pair():
        log_s = torch.linspace(math.log(0.05), math.log(10), len(summary.label)).requires_grad_()
        each = loss_of(summary, log_s.exp())
        each.sum().backward()
        found.append((each.detach(), log_s.grad))
    (loss, gradient), (exact_loss, exact_gradient) = found
    assert torch.allclose(loss, exact_loss, atol=1e-3)
    # The gradient with respect to s itself: of log s it is s times as large.
    s = torch.linspace(math.log(0.05), math.log(10), len(loss)).exp()
    assert torch.allclose(gradient / s, exact_gradient / s, atol=1e-3)


def test_some_of_the_tokens_are_some_of_the_tokens():
    _, whole = pair()
    s = torch.full_like(whole.label, 0.5)
    part = whole[3:9]
    assert torch.allclose(part.log_partition(s[3:9]), whole.log_partition(s)[3:9], atol=1e-6)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def test_no_tensor_has_tokens_times_vocabulary_numbers(monkeypatch):
    _, summary = pair()
    monkeypatch.setattr(batches, "ROOM", 5 * SHAPE.vocabulary)
    tokens = len(summary.label)
    log_s = torch.zeros(tokens, requires_grad=True)
    with Largest() as largest:
        summary.log_partition(log_s.exp()).sum().backward()
    assert largest.numbers <= max(5 * SHAPE.vocabulary, SHAPE.vocabulary * SHAPE.hidden)
    assert largest.numbers < tokens * SHAPE.vocabulary / 5
