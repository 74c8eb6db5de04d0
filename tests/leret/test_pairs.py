"""SFT targets and preference pairs: the paper's rules, case by case and for all inputs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.leret.pairs import Tried, best_query, distinct, preference_pairs

TRIED = st.lists(
    st.builds(
        Tried,
        query=st.sampled_from(["", "a", "b", "a b", "c", "d e f"]),
        reward=st.sampled_from([0.0, 0.5, 0.583333, 1.0]),
        explorer=st.sampled_from(["zero-shot", "phrase", "few-shot"]),
        phrase=st.sampled_from([None, "", "a", "b"]),
    ),
    max_size=14,
)


def tried(*queries: tuple[str, float], explorer: str = "zero-shot") -> list[Tried]:
    return [Tried(query, reward, explorer) for query, reward in queries]


def test_pairs_cross_adjacent_levels_only():
    pairs = preference_pairs(tried(("good", 1.0), ("fair", 0.5), ("fine", 0.5), ("bad", 0.0)))
    assert sorted(pairs) == sorted(
        [("good", "fair"), ("good", "fine"), ("fair", "bad"), ("fine", "bad")]
    )  # and not (good, bad)


def test_ties_and_lone_queries_give_no_pair():
    assert preference_pairs(tried(("a", 0.5), ("b", 0.5))) == []
    assert preference_pairs(tried(("a", 0.5))) == []
    assert preference_pairs([]) == []


def test_equal_queries_count_once_with_their_first_reward():
    assert preference_pairs(tried(("a", 1.0), ("a", 0.0), ("b", 0.5))) == [("a", "b")]


def test_an_empty_query_is_neither_chosen_nor_rejected():
    assert preference_pairs(tried(("", 0.0), ("a", 1.0))) == []


@given(TRIED)
def test_every_pair_prefers_more_by_one_level(samples):
    kept = {one.query: one.reward for one in distinct(samples)}
    steps = set(pairwise(sorted(set(kept.values()), reverse=True)))
    pairs = preference_pairs(samples)
    assert all((kept[chosen], kept[rejected]) in steps for chosen, rejected in pairs)
    assert (
        len(pairs)
        == len(set(pairs))
        == sum(
            sum(r == high for r in kept.values()) * sum(r == low for r in kept.values())
            for high, low in steps
        )
    )


@given(TRIED, st.integers(1, 8), st.integers(0, 3))
def test_a_limit_keeps_a_repeatable_subset_in_order(samples, limit, seed):
    everything = preference_pairs(samples)
    some = preference_pairs(samples, limit, seed)
    assert some == preference_pairs(samples, limit, seed)
    assert len(some) == min(limit, len(everything))
    assert some == [pair for pair in everything if pair in some]


def test_another_seed_keeps_other_pairs():
    samples = tried(*((f"good {n}", 1.0) for n in range(6)), *((f"bad {n}", 0.0) for n in range(6)))
    assert len({tuple(preference_pairs(samples, 5, seed)) for seed in range(5)}) > 1


def test_best_query_must_improve_on_the_context():
    assert best_query(tried(("a", 0.5), ("b", 0.25)), 0.5, ()) is None
    assert best_query(tried(("a", 0.5), ("b", 0.25)), 0.4, ()).query == "a"
    assert best_query([], 0.0, ()) is None
    assert best_query(tried(("", 1.0)), 0.0, ()) is None


def test_ties_go_to_the_phrase_that_helps_in_every_form():
    samples = [
        Tried("Lund", 1.0, "phrase", "Lund"),
        Tried("where is Lund", 0.0, "question+phrase", "Lund"),  # mean of Lund: .5
        Tried("Oslo", 1.0, "phrase", "Oslo"),
        Tried("where is Oslo", 1.0, "question+phrase", "Oslo"),  # mean of Oslo: 1
    ]
    assert best_query(samples, 0.0, ("phrase", "question+phrase")).query == "Oslo"
    # over precedence, too
    assert best_query(samples, 0.0, ("question+phrase", "phrase")).query == "where is Oslo"


def test_then_precedence_then_length_then_the_alphabet():
    by_model = Tried("a long query of a model", 1.0, "zero-shot")
    by_rule = Tried("rule", 1.0, "question", "rule")
    assert best_query([by_rule, by_model], 0.0, ("zero-shot", "question")) == by_model
    assert best_query([by_model, by_rule], 0.0, ("question", "zero-shot")) == by_rule
    assert best_query([by_model, by_rule], 0.0, ("question",)) == by_rule  # unnamed explorers come last
    assert best_query(tried(("two words", 1.0), ("word", 1.0)), 0.0, ()).query == "word"
    assert best_query(tried(("b", 1.0), ("a", 1.0)), 0.0, ()).query == "a"


@given(TRIED, st.sampled_from([0.0, 0.5]), st.permutations(["zero-shot", "phrase", "few-shot"]))
def test_best_query_has_the_top_reward_whatever_the_order(samples, before, precedence):
    best = best_query(samples, before, precedence)
    rewards = [one.reward for one in distinct(samples)]
    if not rewards or max(rewards) <= before:
        assert best is None
    else:
        assert best.reward == max(rewards)
        unique = distinct(samples)
        assert best_query(unique[::-1], before, precedence) == best


def test_distinct_keeps_the_first_of_equal_texts():
    samples = tried(("a", 0.0), ("b", 1.0)) + tried(("a", 1.0), explorer="phrase")
    assert distinct(samples) == samples[:2]


@pytest.mark.parametrize("limit", [1, 3])
def test_limit_none_keeps_all(limit):
    samples = tried(("a", 1.0), ("b", 0.0), ("c", 0.0), ("d", 0.0), ("e", 0.0))
    assert len(preference_pairs(samples)) == 4
    assert len(preference_pairs(samples, limit)) == limit
