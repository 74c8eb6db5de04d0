"""RewardBench's sections: every pair's weight, and what a section's weights sum to."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.metrics import preference
from lmtools.metrics.preference import MATH, SECTIONS, section_weights


def test_the_examples():
    assert doctest.testmod(preference) == (0, 6)


def test_there_are_23_subsets_each_in_one_section():
    every = [name for subsets in SECTIONS.values() for name in subsets]
    assert len(every) == len(set(every)) == 23
    assert list(SECTIONS) == ["Chat", "Chat Hard", "Safety", "Reasoning"]


def test_only_sections_that_are_there():
    assert section_weights({}) == {}
    assert section_weights({"short": 3}) == {}
    assert list(section_weights({"short": 3, "donotanswer": 2, "mt-bench-med": 1})) == ["Chat", "Safety"]
    assert section_weights({"donotanswer": 0}) == {}


def test_a_pair_weighs_the_same_in_every_subset():
    found = section_weights({"alpacaeval-easy": 100, "mt-bench-easy": 28})["Chat"]
    assert found == pytest.approx({"alpacaeval-easy": 1 / 128, "mt-bench-easy": 1 / 128})


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ({"math-prm": 447, "hep-go": 164}, {"math-prm": 1 / 894, "hep-go": 1 / 328}),
        ({"math-prm": 4}, {"math-prm": 1 / 4}),
        ({"hep-go": 4, "hep-js": 12}, {"hep-go": 1 / 16, "hep-js": 1 / 16}),
    ],
)
def test_mathematics_is_half_of_reasoning_beside_code(counts, weights):
    assert section_weights(counts)["Reasoning"] == pytest.approx(weights)


@given(
    st.dictionaries(
        st.sampled_from([name for names in SECTIONS.values() for name in names]), st.integers(0, 500)
    )
)
def test_weights_of_a_section_sum_to_one(counts):
    for section, weights in section_weights(counts).items():
        assert set(weights) <= set(SECTIONS[section])
        assert sum(counts[name] * weight for name, weight in weights.items()) == pytest.approx(1)
        assert all(weight > 0 for weight in weights.values())
        if section == "Reasoning" and MATH in weights and len(weights) > 1:
            assert counts[MATH] * weights[MATH] == pytest.approx(1 / 2)
