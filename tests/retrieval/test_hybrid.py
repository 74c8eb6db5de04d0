import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.retrieval.config import Bm25Config, HybridConfig, RankBm25Config
from lmtools.retrieval.hybrid import HybridRetriever, reciprocal_rank_fusion
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Hit

rankings = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8), max_size=4)


class Fixed:
    """A retriever that gives the same ranking to every query."""

    def __init__(self, ranking):
        self.identity = f"fixed:{ranking}"
        self.ranking = ranking
        self.asked = []

    def search(self, queries, k):
        self.asked.append(k)
        hits = [Hit(id, id.upper(), 9.0 - place) for place, id in enumerate(self.ranking[:k])]
        return [hits for _ in queries]


def test_by_hand():
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["b", "d"]], constant=60)
    assert [id for id, _ in fused] == ["b", "a", "d", "c"]
    assert fused[0][1] == pytest.approx(1 / 62 + 1 / 61)
    assert fused[2][1] == pytest.approx(1 / 62)


def test_equal_scores_go_by_id():
    assert [id for id, _ in reciprocal_rank_fusion([["b", "a"], ["a", "b"], ["c"]])] == ["a", "b", "c"]


@given(rankings, st.integers(0, 100))
def test_sorted_and_complete(rankings, constant):
    fused = reciprocal_rank_fusion(rankings, constant)
    assert sorted(id for id, _ in fused) == sorted({id for ranking in rankings for id in ranking})
    assert fused == sorted(fused, key=lambda item: (-item[1], item[0]))
    assert all(0 < score <= len(rankings) / (constant + 1) + 1e-12 for _, score in fused)


@given(rankings, st.randoms())
def test_order_of_the_rankings_does_not_matter(rankings, random):
    shuffled = random.sample(rankings, len(rankings))
    assert reciprocal_rank_fusion(shuffled) == reciprocal_rank_fusion(rankings)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.integers(1, 4))
def test_agreeing_rankings_stay_as_they_are(ranking, copies):
    assert [id for id, _ in reciprocal_rank_fusion([ranking] * copies)] == ranking


def test_retriever_joins_deeper_than_it_answers():
    """c is third of one and first of the other: only visible below the k-th place."""
    members = [Fixed(["a", "b", "c"]), Fixed(["c", "d", "e"])]
    retriever = HybridRetriever(members, depth=3)
    hits = retriever.search(["x", "y"], 1)
    assert hits[0] == hits[1] == [Hit("c", "C", pytest.approx(1 / 63 + 1 / 61))]
    assert members[0].asked == [3]
    assert retriever.search([], 1) == []


def test_identity_depends_on_members_and_settings():
    a, b = Fixed(["a"]), Fixed(["b"])
    retrievers = [
        HybridRetriever([a, b]), HybridRetriever([b, a]), HybridRetriever([a, b], constant=1),
        HybridRetriever([a, b], depth=1),
    ]  # fmt: skip
    assert len({retriever.identity for retriever in retrievers}) == 4


def test_opened_from_settings(planets):
    retriever = open_retriever(HybridConfig(members=(Bm25Config(), RankBm25Config())), planets)
    (hits,) = retriever.search(["capital of France"], 2)
    assert hits[0].title == "Paris"
    assert retriever.passage(hits[0].id) == planets[3]
    assert retriever.search(["zebra"], 2) == [[]]
