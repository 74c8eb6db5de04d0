"""Directions that need no training: principal ones against numpy, the prior against its equation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.hyre.heads import SHARED, group_directions, principal_axes, prior_draws, prior_root


def differences(seed=0, n=60, width=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)) * np.linspace(1, 4, width)


GROUPS = np.repeat([0, 1, 2], 20)


def covariance(difference, groups):
    """A = (1 - r) I / c + r / G sum_g w_g w_g', as it is written."""
    directions = group_directions(difference, groups)
    c = (difference**2).sum(axis=1).mean()
    plain = (1 - SHARED) / c * np.eye(difference.shape[1])
    return plain + SHARED / len(directions) * sum(np.outer(w, w) for w in directions)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_principal_axes_against_numpy(seed, count):
    wide = differences(seed)
    found = principal_axes(torch.from_numpy(wide), count).double().numpy()
    assert found @ found.T == pytest.approx(np.eye(count), abs=1e-5)
    expected = np.linalg.svd(wide)[2][:count]
    assert np.abs((found * expected).sum(axis=1)) == pytest.approx(np.ones(count), abs=1e-4)


@given(st.integers(0, 2**31))
def test_principal_axes_do_not_depend_on_who_was_chosen(seed):
    wide = torch.from_numpy(differences(seed))
    signs = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], (60, 1)))
    assert torch.allclose(principal_axes(wide * signs, 4), principal_axes(wide, 4), atol=1e-4)


def test_principal_axes_point_along_what_varies():
    wide = torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    assert principal_axes(wide, 3).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_group_directions():
    wide = differences()
    found = group_directions(wide, GROUPS)
    assert found.shape == (3, 6)
    assert np.square(wide @ found.T).mean(axis=0) == pytest.approx(np.ones(3))


def test_a_groups_direction_is_what_the_group_wants():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(200, 4))
    groups = np.repeat(["first", "last"], 100)
    wanted = np.where(groups == "first", wide[:, 0], -wide[:, 3])
    wide *= np.sign(wanted)[:, None]
    first, last = group_directions(wide, groups)
    assert np.argmax(np.abs(first)) == 0
    assert first[0] > 0
    assert np.argmax(np.abs(last)) == 3
    assert last[3] < 0


@settings(max_examples=25)
@given(st.integers(0, 2**31))
def test_the_root_is_one_of_the_covariance(seed):
    wide = differences(seed)
    root = prior_root(wide, GROUPS)
    assert root.shape == (3 + 6, 6)
    assert root.T @ root == pytest.approx(covariance(wide, GROUPS), abs=1e-9)


@given(st.integers(0, 2**31))
def test_margins_under_the_prior_have_size_1(seed):
    wide = differences(seed)
    assert np.square(wide @ prior_root(wide, GROUPS).T).sum(axis=1).mean() == pytest.approx(1)


def test_draws_have_the_covariance():
    wide = differences()
    drawn = prior_draws(wide, GROUPS, 200_000, seed=0)
    expected = covariance(wide, GROUPS)
    assert drawn.T @ drawn / len(drawn) == pytest.approx(expected, abs=0.02 * expected.max())
    assert prior_draws(wide, GROUPS, 5, seed=1).tolist() == prior_draws(wide, GROUPS, 5, seed=1).tolist()
    assert prior_draws(wide, GROUPS, 5, seed=1).tolist() != prior_draws(wide, GROUPS, 5, seed=2).tolist()


def test_answers_that_never_differ():
    """Without any difference there is no direction, and nothing that is not a number."""
    assert np.isfinite(prior_root(np.zeros((4, 3)), np.zeros(4))).all()
