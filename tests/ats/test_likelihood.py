import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.ats import calibrated
from lmtools.ats.baselines import VectorScaling
from lmtools.ats.calibrated import log_probabilities
from lmtools.core.errors import ModelError


def given_logits(n, seed=0, vocabulary=11):
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, vocabulary, generator=random)
    return logits, torch.randint(0, vocabulary, (n, 2), generator=random), torch.randn(n, generator=random)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(0, 1000), st.sampled_from([1, 25, 1 << 22]))
def test_every_method_is_its_definition(n, seed, at_once):
    logits, wanted, log_multiplier = given_logits(n, seed)
    vector = VectorScaling(torch.rand(11) + 0.5, torch.randn(11))
    every = {"head": log_multiplier, "scalar": torch.tensor([-0.5])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrated, "AT_ONCE", at_once)
        found = log_probabilities(logits, wanted, every, vector)
    expected = [
        logits,
        log_multiplier.exp()[:, None] * logits,
        torch.tensor(-0.5).exp() * logits,
        vector.weight * logits + vector.bias,
    ]
    for values, scaled in zip(found, expected, strict=True):
        torch.testing.assert_close(values, scaled.log_softmax(-1).gather(1, wanted), atol=1e-5, rtol=1e-5)


def test_two_logits_worked_by_hand():
    # Odds 3 : 1; with the multiplier 2 they are 9 : 1.
    logits = torch.tensor([[3.0, 1.0]]).log()
    found = log_probabilities(logits, torch.tensor([[0, 1]]), {"s": torch.tensor([2.0]).log()}, None)
    assert found[0].exp().tolist() == [pytest.approx([0.75, 0.25])]
    assert found[1].exp().tolist() == [pytest.approx([0.9, 0.1])]


def test_no_more_than_some_logits_are_worked_on_at_a_time(monkeypatch):
    logits, wanted, log_multiplier = given_logits(10)
    sizes = []

    class Watching(VectorScaling):
        def __call__(self, some):
            sizes.append(some.numel())
            return super().__call__(some)

    monkeypatch.setattr(calibrated, "AT_ONCE", 33)
    log_probabilities(logits, wanted, {"h": log_multiplier}, Watching(torch.ones(11), torch.zeros(11)))
    assert sizes == [33, 33, 33, 11]


def test_a_certain_token_has_probability_one_and_an_impossible_one_none():
    logits = torch.tensor([[1e4, -1e4, -torch.inf]])
    [values] = log_probabilities(logits, torch.tensor([[0, 1, 2]]), {}, None)
    assert values.tolist() == [[0.0, -2e4, -torch.inf]]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_numbers_are_an_error(bad):
    logits = torch.zeros(2, 3)
    logits[1, 1] = bad
    with pytest.raises(ModelError, match="NaN or infinity"):
        log_probabilities(logits, torch.tensor([[1], [1]]), {"s": torch.zeros(1)}, None)


def test_nothing_to_read():
    found = log_probabilities(
        torch.zeros(0, 3), torch.zeros(0, 1, dtype=torch.long), {"s": torch.zeros(1)}, None
    )
    assert [tuple(values.shape) for values in found] == [(0, 1)] * 2
