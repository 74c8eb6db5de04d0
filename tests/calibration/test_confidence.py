"""Confidences: worked values, and what must hold for any probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.calibration.answering import (
    CONFIDENCES,
    answer_confidence,
    answer_tokens,
    length_normalised,
    mean,
    product,
    shares,
)
from lmtools.generation.protocol import Completion

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=30)
logprobs = st.lists(st.floats(-50, 0), min_size=1, max_size=12)


def test_worked_values():
    tokens = [0.5, 0.8]
    assert mean(tokens) == pytest.approx(0.65)
    assert product(tokens) == pytest.approx(0.4)
    assert length_normalised(tokens) == pytest.approx(math.sqrt(0.4))


@given(probabilities)
def test_all_lie_in_the_unit_interval_and_in_their_order(tokens):
    found = {name: answer_confidence(tokens, name) for name in CONFIDENCES}
    assert all(0 <= value <= 1 for value in found.values())
    # The geometric mean is at most the arithmetic one, and a product of many at most its root.
    assert found["product"] <= found["length-normalised"] + 1e-12
    assert found["length-normalised"] <= found["mean"] + 1e-12


@given(st.floats(0, 1), st.sampled_from(sorted(CONFIDENCES)))
def test_of_one_token_all_are_its_probability(value, name):
    assert answer_confidence([value], name) == pytest.approx(value, abs=1e-15)


@given(probabilities, st.sampled_from(sorted(CONFIDENCES)))
def test_order_of_tokens_does_not_matter(tokens, name):
    assert answer_confidence(tokens[::-1], name) == pytest.approx(answer_confidence(tokens, name))


@given(st.floats(0.01, 1), st.integers(1, 40))
def test_mean_and_root_do_not_depend_on_length(value, count):
    assert answer_confidence([value] * count, "mean") == pytest.approx(value)
    assert answer_confidence([value] * count, "length-normalised") == pytest.approx(value)


@pytest.mark.parametrize("name", sorted(CONFIDENCES))
def test_impossible_and_certain_tokens(name):
    assert answer_confidence([1.0, 1.0], name) == 1.0
    assert answer_confidence([0.0, 0.0], name) == 0.0
    assert answer_confidence([], name) == 0.0


@given(logprobs)
def test_shares_are_a_distribution_in_the_order_of_the_logprobs(values):
    found = shares(values)
    assert math.fsum(found) == pytest.approx(1)
    for low, high in zip(sorted(range(len(values)), key=values.__getitem__), sorted(found), strict=True):
        assert found[low] == pytest.approx(high)


@given(logprobs, st.floats(-30, 30))
def test_shares_do_not_depend_on_what_all_options_lack(values, shift):
    assert shares([value + shift for value in values]) == pytest.approx(shares(values))


def test_shares_of_impossible_options():
    assert shares([-math.inf, 0.0]) == [0.0, 1.0]
    assert shares([-math.inf, -math.inf]) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("tokens", "finish", "kept"),
    [
        ((7, 8, 2), "stop", (-1.0, -2.0)),  # the end of the turn does not count
        ((7, 8, 9), "length", (-1.0, -2.0, -3.0)),
        ((), "stop", (-1.0, -2.0, -3.0)),  # a server that returns no token ids leaves the end out itself
    ],
)
def test_the_token_that_ended_the_answer_does_not_count(tokens, finish, kept):
    completion = Completion("some words", tokens, finish=finish)
    assert answer_tokens((-1.0, -2.0, -3.0), completion) == kept


def test_an_answer_that_is_only_an_end_keeps_it():
    assert answer_tokens((-0.5,), Completion("", (2,), (-0.5,), "stop")) == (-0.5,)
