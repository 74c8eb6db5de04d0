"""Where heads come from: directions, and what training makes of two groups that want opposite things."""

import numpy as np
import pytest
import torch

from lmtools.core.errors import RecipeError
from lmtools.hyre.heads import (
    Epinet,
    Examples,
    LinearHeads,
    SharedBase,
    correlation_penalty,
    prior_root,
)
from lmtools.hyre.reweighting import pair_losses, reweight
from lmtools.hyre.settings import TrainSettings
from lmtools.hyre.sources import SOURCES, DirectionSource

WIDTH = 6
FAST = TrainSettings(epochs=25, batch=32, learning_rate=0.01, hidden=16, index_dim=4)
TRAINED = ("shared_base", "epinet", "mixture", "diverse")
DRAWN = ("pca", "random", "gaussian")


def pairs_of(sign: int, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of a user who likes much of the first feature, and of the second much (1) or little (-1)."""
    generator = torch.Generator().manual_seed(seed)
    x, other = (torch.randn(count, WIDTH, generator=generator) for _ in range(2))
    difference = x - other
    better = (difference[:, 0] + sign * difference[:, 1] > 0)[:, None]
    return torch.where(better, x, other), torch.where(better, other, x)


def two_groups(count: int = 200, seed: int = 0) -> Examples:
    """As many pairs of each of two users, who agree on one feature and want opposite things of another."""
    one, two = pairs_of(1, count, seed), pairs_of(-1, count, seed + 1)
    groups = np.repeat([0, 1], count)
    return Examples(torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]]), groups=groups)


def margins(heads, data: Examples) -> np.ndarray:
    with torch.no_grad():
        return (heads(data.x) - heads(data.other))[:, :, 0].double().numpy()


def made(source: str, count: int = 8, seed: int = 0, settings: TrainSettings = FAST):
    return SOURCES[source].make(count, "preference", 1, two_groups(), settings, seed)


@pytest.mark.parametrize("source", [*DRAWN, *TRAINED])
def test_heads_follow_from_the_seed(source):
    first, again, other = (made(source, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    if source != "pca":
        assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("source", TRAINED)
def test_other_random_numbers_stay_as_they_were(source):
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    made(source)
    assert torch.rand(3).tolist() == expected


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        *((source, LinearHeads) for source in DRAWN),
        ("shared_base", SharedBase),
        ("diverse", SharedBase),
        ("mixture", SharedBase),
        ("epinet", Epinet),
    ],
)
@pytest.mark.parametrize("count", [1, 7])
def test_as_many_heads_as_asked_for(source, kind, count):
    heads = made(source, count)
    assert isinstance(heads, kind)
    assert heads(torch.zeros(3, WIDTH)).shape == (3, count, 1)


@pytest.mark.parametrize("source", DRAWN)
def test_directions_come_in_opposite_pairs(source):
    found = SOURCES[source].directions(7, two_groups(), seed=0)
    assert found.shape == (7, WIDTH)
    assert torch.equal(found[1:6:2], -found[0:5:2])  # the seventh has no opposite
    assert torch.equal(SOURCES[source].directions(8, two_groups(), seed=0)[:7], found)


def test_principal_directions_are_orthonormal():
    found = SOURCES["pca"].directions(2 * WIDTH, two_groups(), seed=0)[::2]
    assert torch.allclose(found @ found.T, torch.eye(WIDTH), atol=1e-5)


def test_random_directions_give_margins_of_the_order_of_1():
    found = SOURCES["random"].directions(4000, two_groups(), seed=0)[::2]
    assert found.norm(dim=1).square().mean().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("count", "pairs"), [(2 * WIDTH + 1, 50), (9, 2)])
def test_more_principal_directions_than_there_are(count, pairs):
    data = two_groups(pairs)
    few = Examples(data.x[:pairs], data.other[:pairs])
    with pytest.raises(RecipeError, match=f"set count to {2 * min(pairs, WIDTH)} or less"):
        SOURCES["pca"].directions(count, few, seed=0)


def test_the_limit_has_every_axis_of_its_prior():
    data = two_groups()
    heads = SOURCES["gaussian_limit"].make(3, "preference", 1, data, FAST, 0)
    expected = prior_root((data.x - data.other).double().numpy(), data.groups)
    assert heads.count == 2 + WIDTH
    assert heads.weight.detach().numpy() == pytest.approx(expected, abs=1e-6)


def test_pairs_without_groups_are_one_group():
    data = two_groups()
    alone = Examples(data.x, data.other)
    assert SOURCES["gaussian_limit"].directions(1, alone, seed=0).shape == (1 + WIDTH, WIDTH)


def adapted_to_each(source: str) -> list[float]:
    """The accuracy on either user's pairs with five labels of theirs, a mean over four choices of them."""
    heads = SOURCES[source].make(8, "preference", 1, two_groups(400, seed=10), FAST, 0)
    asked = margins(heads, two_groups(200, seed=2))
    found = []
    for user in (0, 1):
        right = []
        for seed in (20, 30, 40, 50):
            known = margins(heads, two_groups(5, seed))[5 * user : 5 * user + 5]
            weights = reweight(pair_losses(known, "nll").sum(axis=0))
            right.append((asked[200 * user : 200 * user + 200] @ weights > 0).mean())
        found.append(float(np.mean(right)))
    return found


def test_a_mixtures_heads_specialise_where_an_average_cannot():
    """Five labels find a mixture's heads for their user; trained on the sum of losses all heads are alike.

    (Users who contradict each other on everything, and are equally many, leave nothing to learn: each label
    of a pair is then that of a fair coin, and the likelihood of any mixture is at most 1/2.)
    """
    assert min(adapted_to_each("mixture")) > 0.87
    assert max(adapted_to_each("shared_base")) < 0.83


def test_diverse_heads_agree_less():
    data = two_groups()
    one = Examples(data.x[:200], data.other[:200])
    found = {}
    for source in ("shared_base", "diverse"):
        heads = SOURCES[source].make(8, "preference", 1, one, FAST, 0)
        found[source] = correlation_penalty(torch.from_numpy(margins(heads, one))).item()
    assert found["diverse"] < 0.8 * found["shared_base"]


def test_without_its_penalty_diverse_is_shared_base():
    settings = FAST.model_copy(update={"diversity": 0.0, "epochs": 2})
    plain, diverse = (made(source, settings=settings).state_dict() for source in ("shared_base", "diverse"))
    assert all(torch.allclose(plain[name], diverse[name]) for name in plain)


def test_a_larger_prior_keeps_heads_apart():
    spread = []
    for scale in (0.0, 3.0):
        settings = FAST.model_copy(update={"prior_scale": scale})
        found = margins(made("shared_base", settings=settings), two_groups(seed=1))
        spread.append(found.std(axis=1).mean())
    assert spread[1] > 2 * spread[0]


@pytest.mark.parametrize("source", ["shared_base", "epinet", "diverse"])
@pytest.mark.parametrize(("task", "outputs"), [("regression", 1), ("classification", 3)])
def test_rows_are_learned(source, task, outputs):
    x = two_groups().x
    y = x[:, 0] + x[:, 1] if task == "regression" else x[:, :3].argmax(dim=1)
    heads = SOURCES[source].make(4, task, outputs, Examples(x, y=y), FAST, 0)
    with torch.no_grad():
        found = heads(x).mean(dim=1)
    if task == "regression":
        assert (found[:, 0] - y).square().mean() < 0.5 * y.var()
    else:
        assert (found.argmax(dim=1) == y).float().mean() > 0.7


def test_which_sources_are_solved_for():
    solved = {name for name, source in SOURCES.items() if isinstance(source, DirectionSource)}
    assert solved == {*DRAWN, "gaussian_limit"}
