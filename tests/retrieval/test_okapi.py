import math

import pytest

from lmtools.data.records import Passage
from lmtools.retrieval.config import Bm25Config, RankBm25Config
from lmtools.retrieval.open import open_retriever


def test_score_by_hand(towers):
    """Okapi: idf = ln(N - df + .5) - ln(df + .5), tf = f (k1 + 1) / (f + k1 (1 - b + b len / mean len))."""
    (hits,) = open_retriever(RankBm25Config(), towers).search(["Towers!"], 3)
    idf = math.log(3 - 1 + 0.5) - math.log(1 + 0.5)
    tf = 2 * 2.5 / (2 + 1.5 * (1 - 0.75 + 0.75 * 3 / 2))
    assert [hit.id for hit in hits] == ["a"]
    assert hits[0].score == pytest.approx(idf * tf, rel=1e-6)


def test_ranks_as_bm25_does(planets):
    queries = ["smallest planet", "capital of France", "", "zebra"]
    okapi = open_retriever(RankBm25Config(), planets).search(queries, 2)
    lucene = open_retriever(Bm25Config(), planets).search(queries, 2)
    assert [[hit.id for hit in hits] for hits in okapi] == [[hit.id for hit in hits] for hits in lucene]


def test_equal_scores_go_by_id():
    corpus = [Passage(id=str(n), title="river" if n > 8 else "sea", text="") for n in range(30, -1, -1)]
    (hits,) = open_retriever(RankBm25Config(), corpus).search(["sea"], 4)
    assert [hit.id for hit in hits] == ["0", "1", "2", "3"]


def test_corpus_without_a_single_term():
    retriever = open_retriever(RankBm25Config(), [Passage(id="1", title="", text="?")])
    assert retriever.search(["river"], 3) == [[]]
    assert retriever.passage("1").text == "?"


def test_a_term_of_every_passage_finds_them_all():
    """Its weight is a quarter of the mean, here below 0: .25 (ln(.5 / 4.5) + ln(3.5 / 1.5)) / 2."""
    corpus = [Passage(id=str(n), title="river", text="sea" * (n == 2)) for n in range(4)]
    retriever = open_retriever(RankBm25Config(b=0), corpus)
    (hits,) = retriever.search(["river"], 9)
    weight = (math.log(0.5 / 4.5) + math.log(3.5 / 1.5)) / 8
    assert [(hit.id, hit.score) for hit in hits] == [(id, pytest.approx(weight)) for id in "0123"]
    assert [hit.id for hit in retriever.search(["river sea sea"], 2)[0]] == ["2", "0"]
    assert retriever.search(["zebra", ""], 9) == [[], []]


def test_a_corpus_of_one_passage():
    retriever = open_retriever(RankBm25Config(), [Passage(id="1", title="Seine", text="A river.")])
    assert [[hit.id for hit in hits] for hits in retriever.search(["river", "sea"], 3)] == [["1"], []]
