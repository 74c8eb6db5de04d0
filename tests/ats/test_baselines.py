"""Scalars against a fine grid and full logits, vector scaling against autograd and a known distortion."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lmtools.ats import cache, losses
from lmtools.ats.baselines import (
    VectorScaling,
    VectorSettings,
    fit_scalar,
    fit_vector,
    load_vector,
    mean_nll,
    nll_gradient,
    save_vector,
)
from lmtools.ats.cache import summarise
from lmtools.ats.recipe import MULTIPLIERS
from lmtools.core.errors import DataError, ModelError

LOSSES = {
    "selective smoothing": partial(losses.selective_smoothing, alpha=0.5),
    "selective smoothing, top 4": partial(losses.selective_smoothing, alpha=0.3, top_k=4),
    "code form": partial(losses.selective_smoothing_code, alpha=0.5, masked=30),
    "cross-entropy": losses.cross_entropy,
    "full smoothing": partial(losses.full_smoothing, alpha=0.1),
}


def tokens(n=200, vocabulary=80, seed=0, sharpness=1.0):
    """Logits and labels drawn from them: logits times ``sharpness`` want the multiplier 1 / sharpness."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, vocabulary, generator=random)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=random)[:, 0]
    return sharpness * logits, labels


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_scalar_is_the_best_of_a_fine_grid(name, seed):
    summary, loss = summarise(*tokens(seed=seed, sharpness=2.0)), LOSSES[name]
    found = fit_scalar(summary, loss)

    def mean(log_multiplier):
        s = torch.full((200,), math.exp(log_multiplier), dtype=torch.float64)
        return float(loss(summary, s).mean())

    grid = torch.linspace(math.log(MULTIPLIERS[0]), math.log(MULTIPLIERS[1]), 301).tolist()
    values = [mean(at) for at in grid]
    best = min(range(len(grid)), key=values.__getitem__)
    assert mean(found) <= values[best] + 1e-12
    assert found == pytest.approx(grid[best], abs=grid[1] - grid[0])
    # One minimum: the loss falls up to it and rises from it on.
    steps = np.diff(values)
    assert (steps[:best] <= 1e-12).all()
    assert (steps[best:] >= -1e-12).all()


@settings(max_examples=6, deadline=None)
@given(st.floats(0.3, 3.0), st.integers(0, 10_000))
def test_nll_undoes_a_sharpening(sharpness, seed):
    summary = summarise(*tokens(2000, seed=seed, sharpness=sharpness))
    assert fit_scalar(summary, losses.cross_entropy) == pytest.approx(-math.log(sharpness), abs=0.1)


def test_the_scalar_of_summaries_is_that_of_the_logits():
    logits, labels = tokens(500, sharpness=1.7)
    multiplier = math.exp(fit_scalar(summarise(logits, labels), losses.cross_entropy))
    s = torch.tensor(multiplier, requires_grad=True)
    torch.nn.functional.cross_entropy(s * logits, labels).backward()
    assert abs(float(s.grad)) < 1e-3


def test_a_scalar_does_not_depend_on_the_chunks(monkeypatch):
    summary = summarise(*tokens(100))
    whole = fit_scalar(summary, LOSSES["code form"])
    monkeypatch.setattr(cache, "CHUNK", 7)
    assert fit_scalar(summary, LOSSES["code form"]) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize(
    ("label", "loss", "end"),
    [("argmax", "cross-entropy", 10.0), ("argmin", "selective smoothing", 0.05)],
)
def test_all_right_or_all_wrong_ends_at_the_clip(label, loss, end):
    logits, _ = tokens(50)
    summary = summarise(logits, getattr(logits, label)(-1))
    assert fit_scalar(summary, LOSSES[loss]) == pytest.approx(math.log(end))


def test_one_token_is_enough_and_none_is_an_error():
    logits, labels = tokens(1)
    assert math.isfinite(fit_scalar(summarise(logits, labels), losses.cross_entropy))
    with pytest.raises(DataError, match="no response tokens"):
        fit_scalar(summarise(logits, labels)[:0], losses.cross_entropy)


def test_the_clip_is_kept():
    summary = summarise(*tokens(sharpness=3.0))
    assert fit_scalar(summary, losses.cross_entropy, clip=(0.5, 2.0)) == pytest.approx(math.log(0.5))


def test_a_loss_that_is_not_a_number_is_an_error():
    summary = summarise(*tokens(5))
    with pytest.raises(ModelError, match="not a number"):
        fit_scalar(summary, lambda some, s: s * torch.nan)


def test_the_gradient_is_that_of_autograd():
    logits, labels = tokens(9, 12)
    weight, bias = torch.rand(12) + 0.5, torch.randn(12)
    given = VectorScaling(weight.requires_grad_(), bias.requires_grad_())
    expected = torch.nn.functional.cross_entropy(weight * logits + bias, labels)
    expected.backward()
    with torch.no_grad():
        before = logits.clone()
        loss, by_weight, by_bias = nll_gradient(given, logits, labels)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(by_weight, weight.grad)
    torch.testing.assert_close(by_bias, bias.grad)
    assert torch.equal(before, logits)


def distorted(n=3000):
    """Logits that one scale and bias per entry would mend."""
    logits, labels = tokens(n, 10)
    return logits * torch.linspace(0.5, 2, 10) + torch.linspace(-1, 1, 10), labels


def test_vector_scaling_mends_a_distortion_that_a_scalar_cannot():
    logits, labels = distorted()
    asked = []

    def logits_of(indices):
        asked.append(len(indices))
        return logits[indices]

    train, validation = torch.arange(2000), torch.arange(2000, 3000)
    how = VectorSettings(rate=0.03, batch=128, epochs=20)
    found = fit_vector(logits_of, labels, train, validation, how)
    identity = VectorScaling(torch.ones(10), torch.zeros(10))
    before = mean_nll(identity, logits_of, labels, validation, how)
    s = math.exp(fit_scalar(summarise(logits[:2000], labels[:2000]), losses.cross_entropy))
    by_scalar = mean_nll(
        VectorScaling(s * torch.ones(10), torch.zeros(10)), logits_of, labels, validation, how
    )
    after = mean_nll(found, logits_of, labels, validation, how)
    assert after < by_scalar - 0.05 < before
    assert max(asked) == 128


def test_vector_scaling_is_the_same_for_the_same_seed():
    logits, labels = distorted(300)
    train, validation = torch.arange(200), torch.arange(200, 300)
    first, again, other = (
        fit_vector(
            logits.__getitem__, labels, train, validation, VectorSettings(rate=0.03, batch=64, seed=seed)
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_steps_that_only_harm_leave_no_scaling():
    logits, labels = tokens(64, 10)
    train, validation = torch.arange(32), torch.arange(32, 64)
    found = fit_vector(logits.__getitem__, labels, train, validation, VectorSettings(rate=50.0))
    assert torch.equal(found.weight, torch.ones(10))
    assert torch.equal(found.bias, torch.zeros(10))


def test_vector_scaling_of_one_token_and_of_bad_input():
    logits, labels = tokens(1, 10)
    none = torch.arange(0)
    found = fit_vector(logits.__getitem__, labels, torch.arange(1), none)
    assert torch.isfinite(found.weight).all()
    with pytest.raises(DataError, match="no response tokens"):
        fit_vector(logits.__getitem__, labels, none, none)
    with pytest.raises(ModelError, match="NaN"):
        fit_vector((logits * torch.nan).__getitem__, labels, torch.arange(1), none)


def test_vector_scaling_comes_back_from_its_file(tmp_path):
    scaling = VectorScaling(torch.rand(7), torch.randn(7))
    save_vector(scaling, tmp_path / "vector.safetensors")
    back = load_vector(tmp_path / "vector.safetensors")
    assert torch.equal(back.weight, scaling.weight)
    assert torch.equal(back.bias, scaling.bias)
    assert set(load_file(tmp_path / "vector.safetensors")) == {"weight", "bias"}


@pytest.mark.parametrize("fault", ["missing", "truncated", "other", "nan", "shapes"])
def test_a_broken_vector_file_is_an_error_that_names_it(tmp_path, fault):
    path = tmp_path / "vector.safetensors"
    ones = torch.ones(4)
    if fault == "truncated":
        save_vector(VectorScaling(ones, torch.zeros(4)), path)
        path.write_bytes(path.read_bytes()[:-5])
    elif fault == "other":
        save_file({"weight": ones}, path)
    elif fault == "nan":
        save_file({"weight": ones, "bias": ones * torch.nan}, path)
    elif fault == "shapes":
        save_file({"weight": ones, "bias": ones[:2].clone()}, path)
    with pytest.raises(ModelError, match=r"vector\.safetensors is no vector scaling"):
        load_vector(path)
