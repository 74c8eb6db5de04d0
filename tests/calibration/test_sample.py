"""Even sampling over subjects, and the answer that a demonstration shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.calibration.tasks import evenly, shown_answer, split_evenly

subjects = st.lists(st.sampled_from("abcde"), min_size=1, max_size=60)


def ids(labels):
    return [f"q{number}" for number in range(len(labels))]


@given(subjects, st.integers(1, 70), st.integers(0, 5))
def test_as_even_as_the_subjects_allow(labels, limit, seed):
    chosen = evenly(ids(labels), labels, limit, seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(labels))
    counts = {label: sum(labels[at] == label for at in chosen) for label in labels}
    most = max(counts.values())
    for label, count in counts.items():
        assert count >= most - 1 or count == labels.count(label)


@given(subjects, st.integers(1, 60), st.integers(0, 5))
def test_a_larger_limit_only_adds(labels, limit, seed):
    fewer = set(evenly(ids(labels), labels, limit, seed))
    assert fewer <= set(evenly(ids(labels), labels, limit + 1, seed))


def test_one_subject_gives_its_first_and_no_limit_gives_all():
    assert evenly(ids("aaaa"), "aaaa", 2, seed=3) == [0, 1]
    assert evenly(ids("abab"), "abab", None, seed=3) == [0, 1, 2, 3]


def test_the_seed_draws():
    labels = "ab" * 30
    assert len({tuple(evenly(ids(labels), labels, 10, seed)) for seed in range(5)}) > 1


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 20), min_size=1), st.integers(0, 80))
def test_parts_add_up(sizes, total):
    shares = split_evenly(sizes, total)
    assert sum(shares.values()) == min(total, sum(sizes.values()))
    assert all(0 <= shares[part] <= size for part, size in sizes.items())


@pytest.mark.parametrize(
    ("accepted", "shown"),
    [
        (["Fourth planet", "Mars", "Planet Mars", "Sol 4", "Mars (planet)"], "Mars"),
        (["Spark (album)", "The Spark", "a Spark", "Spark"], "Spark"),
        (["Paris"], "Paris"),
        (["the", "Oslo"], "Oslo"),  # what has no word after normalisation is contained in all
        (["USA", "A very long name"], "USA"),
    ],
)
def test_shown_answer(accepted, shown):
    assert shown_answer(accepted) == shown


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8))
def test_shown_answer_is_an_accepted_one(accepted):
    assert shown_answer(accepted) in accepted
