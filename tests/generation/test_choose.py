"""The next token: greedy, and drawn by one uniform number within temperature, top-k and top-p."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.generation import decode as module
from lmtools.generation.decode import choose, limit, uniforms
from lmtools.generation.protocol import Sampling

# Probabilities .5, .3, .15, .05 at tokens 2, 0, 3, 1.
LOGITS = torch.tensor([[0.3, 0.05, 0.5, 0.15]]).log()


def token(sampling, u):
    return choose(LOGITS, sampling, torch.tensor([u], dtype=torch.float64))[0].item()


def test_greedy_takes_the_most_probable_and_reports_its_log_probability():
    tokens, logprobs = choose(LOGITS + 3.0, Sampling(), None)
    assert tokens.tolist() == [2]
    assert logprobs.item() == pytest.approx(math.log(0.5), abs=1e-6)


def test_without_limits_the_cumulated_probability_decides():
    # In the order of the tokens: .3, .35, .85, 1.
    draws = {0.0: 0, 0.29: 0, 0.31: 1, 0.34: 1, 0.36: 2, 0.84: 2, 0.86: 3, 0.9999: 3}
    assert {u: token(Sampling(temperature=1.0), u) for u in draws} == draws


def test_limits_worked_by_hand():
    # top-k 2 leaves .5 and .3: token 2 below .625. top-p .6 leaves the same two, since .5 is not enough.
    for sampling in (Sampling(temperature=1.0, top_k=2), Sampling(temperature=1.0, top_p=0.6)):
        assert [token(sampling, u) for u in (0.0, 0.62, 0.63, 0.999)] == [2, 2, 0, 0]
    # After top-k 2 the probabilities are .625 and .375, so that top-p .6 leaves one.
    assert token(Sampling(temperature=1.0, top_k=2, top_p=0.6), 0.999) == 2
    assert token(Sampling(temperature=1.0, top_p=1e-9), 0.999) == 2


def test_the_log_probability_is_that_of_temperature_one():
    sampling = Sampling(temperature=0.3, top_k=2)
    tokens, logprobs = choose(LOGITS, sampling, torch.tensor([0.999], dtype=torch.float64))
    assert tokens.item() == 0
    assert logprobs.item() == pytest.approx(math.log(0.3), abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.999), st.integers(2, 40))
def test_top_p_keeps_the_fewest_that_reach_p(seed, top_p, vocabulary):
    logits = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    probabilities, ids = limit(logits, 0, top_p)
    full = logits.double().softmax(dim=-1)
    for row in range(3):
        kept = probabilities[row] > 0
        mass = full[row][ids[row][kept]].sum().item()
        least = full[row][ids[row][kept]].min().item()
        assert mass >= top_p - 1e-9
        assert kept.sum() == 1 or mass - least < top_p + 1e-9


def test_a_flat_distribution_needs_more_than_the_first_candidates(monkeypatch):
    monkeypatch.setattr(module, "CANDIDATES", 4)
    probabilities, ids = limit(torch.zeros(1, 100), 0, 0.5)
    assert ids.shape == (1, 100)
    assert (probabilities > 0).sum() == 50


def test_frequencies_follow_the_probabilities():
    draws = uniforms([7], 20_000)[0]
    tokens, _ = choose(LOGITS.expand(20_000, 4), Sampling(temperature=1.0), draws)
    shares = torch.bincount(tokens, minlength=4) / 20_000
    torch.testing.assert_close(shares, LOGITS.exp()[0], atol=0.015, rtol=0)


def test_uniform_numbers_depend_on_the_seed_alone():
    assert torch.equal(uniforms([3, 5], 8)[1], uniforms([5], 8)[0])
    assert torch.equal(uniforms([5], 4)[0], uniforms([5], 8)[0, :4])
    assert not torch.equal(uniforms([3], 8), uniforms([5], 8))
