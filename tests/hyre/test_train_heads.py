"""The training loop: it learns, it repeats itself, and it leaves the priors alone."""

import math

import numpy as np
import pytest
import torch

from lmtools.core.errors import ModelError
from lmtools.hyre.heads import (
    WARMUP,
    Epinet,
    Examples,
    Heads,
    LinearHeads,
    SharedBase,
    bradley_terry,
    cross_entropy,
    fixed_outputs,
    outputs,
    rate,
    squared_error,
    train_heads,
)
from lmtools.hyre.settings import TrainSettings

WIDTH = 6
SETTINGS = TrainSettings(epochs=20, batch=16, learning_rate=0.01)


def examples(task: str, count: int = 80) -> Examples:
    generator = torch.Generator().manual_seed(0)
    x, other = (torch.randn(count, WIDTH, generator=generator) for _ in range(2))
    if task == "regression":
        return Examples(x, y=x[:, 0] - 2 * x[:, 1])
    if task == "classification":
        return Examples(x, y=x[:, :3].argmax(dim=1))
    better = (x[:, 0] > other[:, 0])[:, None]
    return Examples(torch.where(better, x, other), torch.where(better, other, x))


def loss_of(task: str):
    if task == "regression":
        return lambda found, y: squared_error(found[:, :, 0], y)
    return cross_entropy if task == "classification" else lambda found, y: bradley_terry(found)


def made(kind: str, outputs: int = 1, seed: int = 0) -> Heads:
    torch.manual_seed(seed)
    if kind == "epinet":
        return Epinet(WIDTH, 4, outputs, hidden=16, prior_scale=0.5, index_dim=3)
    return SharedBase(WIDTH, 4, outputs, hidden=16, prior_scale=0.5)


def loss_now(heads: Heads, data: Examples, task: str) -> float:
    with torch.no_grad():
        found = outputs(heads, data, torch.arange(len(data)), fixed_outputs(heads, data))
        return loss_of(task)(found, data.y).item()


@pytest.mark.parametrize("kind", ["shared", "epinet"])
@pytest.mark.parametrize("task", ["preference", "regression", "classification"])
def test_training_lowers_the_loss(task, kind):
    data, heads = examples(task), made(kind, 3 if task == "classification" else 1)
    before = loss_now(heads, data, task)
    last = train_heads(heads, data, loss_of(task), SETTINGS, seed=0)
    after = loss_now(heads, data, task)
    assert after < 0.6 * before
    assert after == pytest.approx(last, rel=0.3)


@pytest.mark.parametrize("kind", ["shared", "epinet"])
def test_the_priors_do_not_move(kind):
    heads, data = made(kind), examples("regression")
    before = {name: value.clone() for name, value in heads.state_dict().items()}
    train_heads(heads, data, loss_of("regression"), SETTINGS, seed=0)
    for name, value in heads.state_dict().items():
        frozen = name.startswith("prior") or name == "index"
        assert torch.equal(before[name], value) == frozen, name


def test_nothing_can_be_trained_afterwards():
    heads = made("shared")
    train_heads(heads, examples("preference"), loss_of("preference"), SETTINGS, seed=0)
    assert not heads.training
    assert not any(weight.requires_grad for weight in heads.parameters())


def test_the_same_seed_gives_the_same_heads():
    found = []
    for order in (1, 1, 2):
        heads = made("shared")
        train_heads(heads, examples("preference"), loss_of("preference"), SETTINGS, seed=order)
        found.append(heads.heads.weight.tolist())
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_margins_are_differences_of_outputs():
    data = examples("preference")
    for heads in (made("shared"), made("epinet"), LinearHeads(torch.randn(4, WIDTH))):
        rows = torch.tensor([3, 0, 7])
        found = outputs(heads, data, rows, fixed_outputs(heads, data))
        expected = (heads(data.x[rows]) - heads(data.other[rows]))[:, :, 0]
        assert torch.allclose(found, expected, atol=1e-5)


def test_outputs_of_rows():
    data, heads = examples("classification"), made("shared", 3)
    rows = torch.tensor([3, 0, 7])
    found = outputs(heads, data, rows, fixed_outputs(heads, data))
    assert torch.allclose(found, heads(data.x[rows]), atol=1e-5)


def test_parameters_of_the_loss_are_trained_along():
    shift = torch.nn.Parameter(torch.zeros(1))
    train_heads(
        made("shared"),
        examples("preference"),
        lambda found, y: bradley_terry(found - shift),
        SETTINGS,
        seed=0,
        extra=(shift,),
    )
    assert shift.item() < -0.01


def test_each_step_is_counted():
    class Bar:
        steps = 0

        def advance(self, n: int = 1) -> None:
            self.steps += n

    bar = Bar()
    few = TrainSettings(epochs=3, batch=16)
    train_heads(made("shared"), examples("preference", 40), loss_of("preference"), few, seed=0, bar=bar)
    assert bar.steps == 3 * 3  # 16, 16 and 8 pairs


def test_a_loss_that_is_not_a_number():
    with pytest.raises(ModelError, match=r"lower train\.learning_rate"):
        train_heads(
            made("shared"), examples("preference"), lambda found, y: found.sum() * math.nan, SETTINGS, 0
        )


def test_the_rate_rises_and_falls():
    steps = 200
    rates = [rate(step, steps) for step in range(steps)]
    assert rates[0] == pytest.approx(1 / WARMUP)
    assert int(np.argmax(rates)) in (WARMUP - 1, WARMUP)
    assert (np.diff(rates[WARMUP:]) < 0).all()
    assert 0 < rates[-1] < 1e-3
    assert rate(0, 1) == pytest.approx(1 / WARMUP)
