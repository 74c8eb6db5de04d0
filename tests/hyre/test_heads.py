"""Heads in one pass: what a loop over them gives, one row at a time."""

import math

import pytest
import torch
from torch import nn

from lmtools.hyre.heads import Epinet, Heads, LinearHeads, SharedBase

WIDTH, COUNT = 7, 5


def x(rows: int = 12) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(3))


def made(kind: str, outputs: int = 1) -> Heads:
    torch.manual_seed(0)
    if kind == "linear":
        return LinearHeads(torch.randn(COUNT, WIDTH))
    if kind == "epinet":
        return Epinet(WIDTH, COUNT, outputs, hidden=6, prior_scale=0.5, index_dim=3)
    hidden = 0 if kind == "no trunk" else 6
    return SharedBase(WIDTH, COUNT, outputs, hidden=hidden, prior_scale=0.5, prior_hidden=4)


KINDS = ("linear", "shared", "no trunk", "epinet")


def relu_layer(layer: nn.Linear, row: torch.Tensor) -> torch.Tensor:
    return torch.relu(layer.weight @ row + layer.bias)


def test_linear_heads_against_a_loop():
    heads = made("linear")
    found = heads(x())
    assert found.shape == (12, COUNT, 1)
    for i, row in enumerate(x()):
        for k in range(COUNT):
            assert found[i, k, 0].item() == pytest.approx((heads.weight[k] @ row).item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["shared", "no trunk"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_shared_base_against_a_loop(kind, outputs):
    heads = made(kind, outputs)
    found = heads(x())
    assert found.shape == (12, COUNT, outputs)
    for i, row in enumerate(x()):
        inner = row if kind == "no trunk" else relu_layer(heads.trunk[0], row)
        prior = relu_layer(heads.prior_trunk[0], row)
        for k in range(COUNT):
            own = slice(k * outputs, (k + 1) * outputs)
            expected = heads.heads.weight[own] @ inner + heads.heads.bias[own]
            expected = expected + 0.5 * (heads.prior.weight[own] @ prior + heads.prior.bias[own])
            assert torch.allclose(found[i, k], expected, atol=1e-5)


@pytest.mark.parametrize("outputs", [1, 3])
def test_an_epinet_against_a_loop(outputs):
    heads = made("epinet", outputs)
    found = heads(x())
    assert found.shape == (12, COUNT, outputs)
    for i, row in enumerate(x()):
        inner = relu_layer(heads.trunk[0], row)
        moves = heads.net[2](relu_layer(heads.net[0], inner)).reshape(outputs, 3)
        prior = heads.prior_net[2](relu_layer(heads.prior_net[0], row)).reshape(outputs, 3)
        for k, z in enumerate(heads.index):
            expected = heads.base(inner) + moves @ z + 0.5 * (prior @ z)
            assert torch.allclose(found[i, k], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_learned_and_fixed_are_all(kind):
    heads = made(kind)
    assert torch.allclose(heads(x()), heads.learned(x()) + heads.fixed(x()))
    assert (heads.fixed(x()).ndim == 0) == (kind == "linear")


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_answered_alike_in_any_batch_and_order(kind):
    heads, rows = made(kind), x(33)
    whole = heads(rows)
    alone = torch.cat([heads(row[None]) for row in rows])
    blocks = torch.cat([heads(block) for block in torch.split(rows, 7)])
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    for other in (alone, blocks, heads(rows[order])[order.argsort()]):
        assert torch.allclose(other, whole, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["shared", "no trunk", "epinet"])
def test_priors_are_frozen_and_the_rest_is_not(kind):
    for name, weight in made(kind).named_parameters():
        assert weight.requires_grad == (not name.startswith("prior")), name


@pytest.mark.parametrize("kind", ["shared", "no trunk"])
def test_without_a_prior_nothing_is_fixed(kind):
    hidden = 0 if kind == "no trunk" else 6
    heads = SharedBase(WIDTH, COUNT, 1, hidden=hidden, prior_scale=0.0)
    assert heads.fixed(x()).ndim == 0
    assert torch.equal(heads(x()), heads.learned(x()))


def test_new_heads_differ():
    """Neither the start nor the prior makes two heads alike."""
    for kind in ("shared", "no trunk", "epinet"):
        heads = made(kind)
        for part in (heads.learned(x()), heads.fixed(x())):
            columns = part[:, :, 0].detach()
            assert torch.pdist(columns.T).min() > 1e-3


def test_the_epinets_trunk_learns_from_the_base_alone():
    heads = made("epinet")
    index = heads.index.clone()
    heads.index.zero_()
    heads.learned(x()).sum().backward()
    base_only = heads.trunk[0].weight.grad.clone()
    heads.zero_grad()
    heads.index.copy_(index)
    heads.learned(x()).sum().backward()
    assert torch.allclose(heads.trunk[0].weight.grad, base_only)
    assert heads.net[0].weight.grad.abs().sum() > 0


def test_an_epinet_needs_a_trunk():
    with pytest.raises(ValueError, match="hidden"):
        Epinet(WIDTH, COUNT, 1, hidden=0, prior_scale=1.0, index_dim=3)


def test_the_size_of_new_heads_does_not_grow_with_the_features():
    """Standardised features of any number give outputs of the order of 1."""
    for width in (10, 1000):
        torch.manual_seed(0)
        heads = SharedBase(width, 200, 1, hidden=0, prior_scale=0.0)
        found = heads(torch.randn(50, width)).std().item()
        assert math.isclose(found, 1.0, rel_tol=0.2)
