import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.metrics.retrieval import average_precision, ndcg, recall

GOLD = ["A", "B"]
titles = st.lists(st.sampled_from("ABCDExyzuv"), max_size=12)
golds = st.sets(st.sampled_from("ABCDE"), min_size=1)


@pytest.mark.parametrize(
    ("retrieved", "expected"),
    [
        (["A", "B"], 1.0),
        (["B", "A"], 1.0),
        (["A", "x", "B"], (1 + 2 / 3) / 2),
        (["x", "A", "B"], (1 / 2 + 2 / 3) / 2),
        (["A"], 0.5),
        (["x", "y"], 0.0),
        ([], 0.0),
        (["A", "A"], 0.5),
        (["A", "A", "B"], 1.0),
        (["x", "x", "A"], 0.25),
    ],
)
def test_average_precision_by_hand(retrieved, expected):
    assert average_precision(retrieved, GOLD) == pytest.approx(expected)


def test_recall_by_hand():
    assert recall(["x", "A", "A"], GOLD) == 0.5
    assert recall(["B", "A"], GOLD) == 1.0
    assert recall([], GOLD) == 0.0


def test_ndcg_by_hand():
    assert ndcg(["A", "B"], GOLD, 3) == 1.0
    assert ndcg(["x", "A"], GOLD, 3) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert ndcg(["A", "x", "B"], GOLD, 3) == pytest.approx(1.5 / (1 + 1 / math.log2(3)))
    assert ndcg(["A", "x", "B"], GOLD, 1) == 1.0
    with pytest.raises(ValueError, match="k must be at least 1"):
        ndcg(["A"], GOLD, 0)


METRICS = [
    recall,
    average_precision,
    lambda retrieved, gold: ndcg(retrieved, gold, 3),
]
each_metric = pytest.mark.parametrize("metric", METRICS)


@each_metric
def test_no_gold_is_an_error(metric):
    with pytest.raises(ValueError, match="no gold titles"):
        metric(["A"], [])
    with pytest.raises(TypeError, match="collection of titles"):
        metric(["A"], "A")


@each_metric
@given(retrieved=titles, gold=golds)
def test_between_zero_and_one(metric, retrieved, gold):
    assert 0.0 <= metric(retrieved, gold) <= 1.0 + 1e-12


@each_metric
@given(retrieved=titles, gold=golds)
def test_only_whether_a_title_is_gold_matters(metric, retrieved, gold):
    """Other names for the titles that are not gold change nothing, and neither do repetitions."""
    renamed = [title if title in gold else f"other {title}" for title in retrieved]
    assert metric(renamed, gold) == metric(retrieved, gold)
    assert metric([*retrieved, *retrieved], gold) == metric(retrieved, gold)


@each_metric
@given(retrieved=titles, gold=golds)
def test_gold_in_front_is_best(metric, retrieved, gold):
    distinct = list(dict.fromkeys(retrieved))
    best = sorted(distinct, key=lambda title: title not in gold)
    assert metric(best, gold) >= metric(retrieved, gold) - 1e-12


@each_metric
@given(retrieved=titles, gold=golds, more=titles)
def test_more_hits_never_hurt(metric, retrieved, gold, more):
    assert metric([*retrieved, *more], gold) >= metric(retrieved, gold) - 1e-12


@given(retrieved=titles, gold=golds)
def test_average_precision_is_at_most_recall(retrieved, gold):
    assert average_precision(retrieved, gold) <= recall(retrieved, gold) + 1e-12
