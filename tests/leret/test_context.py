"""The cumulative context, and one hop of search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.leret.context import Context, search_hop
from lmtools.leret.recipe import HopSettings
from lmtools.retrieval.protocol import Hit

A, B, C, D = (
    Hit(name, name.upper(), score) for name, score in zip("abcd", (1.0, 3.0, 2.0, 3.0), strict=True)
)
HITS = st.lists(
    st.builds(Hit, st.sampled_from("abcdef"), st.just("T"), st.integers(0, 3).map(float)), max_size=6
)


class Ranked:
    """A retriever with one fixed ranking for every query, which counts what it is asked."""

    identity = "ranked"

    def __init__(self, *hits):
        self.hits, self.asked = list(hits), []

    def search(self, queries, k):
        self.asked.append((list(queries), k))
        return [self.hits[:k] if query else [] for query in queries]


def test_extend_keeps_the_old_first_and_each_passage_once():
    context = Context((A, B)).extend([C, B, D])
    assert context.ids == ("a", "b", "c", "d")
    assert context.titles == ["A", "B", "C", "D"]


def test_extend_by_score_is_stable():
    assert Context((A, B)).extend([C, D], "score").ids == ("b", "d", "c", "a")


@given(HITS, HITS, st.sampled_from(["found", "score"]))
def test_extend_never_loses_or_repeats(old, new, order):
    before = Context().extend(list({hit.id: hit for hit in old}.values()), order)
    after = before.extend(list({hit.id: hit for hit in new}.values()), order)
    assert set(after.ids) == set(before.ids) | {hit.id for hit in new}
    assert len(after.ids) == len(set(after.ids))
    if order == "found":
        assert after.ids[: len(before.ids)] == before.ids
    else:
        scores = [hit.score for hit in after.hits]
        assert scores == sorted(scores, reverse=True)


def test_a_fresh_hop_returns_k_passages_that_are_new():
    retriever = Ranked(A, B, C, D)
    hits = search_hop(retriever, ["q", "q"], [Context((A, C)), Context()], HopSettings(k=2))
    assert [[hit.id for hit in found] for found in hits] == [["b", "d"], ["a", "b"]]
    assert retriever.asked == [(["q"], 4)]  # equal queries once, deep enough for the longest context


def test_a_hop_that_is_not_fresh_returns_the_k_best_as_they_come():
    retriever = Ranked(A, B, C, D)
    hop = HopSettings(k=2, fresh=False)
    hits = search_hop(retriever, ["q"], [Context((A, C))], hop)
    assert [hit.id for hit in hits[0]] == ["a", "b"]
    assert retriever.asked == [(["q"], 2)]
    assert Context((A, C)).extend(hits[0]).ids == ("a", "c", "b")


def test_nothing_asked_nothing_sent():
    retriever = Ranked(A)
    assert search_hop(retriever, [], [], HopSettings()) == []
    assert retriever.asked == []


@pytest.mark.parametrize("fresh", [True, False])
def test_an_empty_query_finds_nothing_and_harms_nobody(world, fresh):
    found = search_hop(world.retriever, ["", "Lund"], [Context(), Context()], HopSettings(k=1, fresh=fresh))
    assert [[hit.title for hit in hits] for hits in found] == [[], ["Lund"]]
