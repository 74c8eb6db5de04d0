"""Figures in words: the right verdict, the right unit, and what a run is about."""

import pytest

from lmtools.core.results import Difference, Interval, Results, Row
from lmtools.report.charts import format_value
from lmtools.report.sentences import (  # fmt: skip
    difference_sentence,
    difference_unit,
    distance,
    headline_metrics,
    headline_rows,
    main_row,
    unit,
    value_sentence,
)


def results(rows: dict[str, list[str]], differences: tuple[Difference, ...] = ()) -> Results:
    made = tuple(Row(name, dict.fromkeys(own, Interval(0.5, 0.4, 0.6, 10))) for name, own in rows.items())
    return Results("r", "c", 0, {}, {}, made, differences)


def difference(
    value: float, low: float, high: float, metric: str = "recall@hop2", n: int = 80, clusters: int = 0
) -> Difference:
    return Difference("SFT", "base", metric, value, low, high, n, "bootstrap-gaffke", clusters)


def test_a_measurement_in_a_sentence() -> None:
    said = value_sentence("SFT", "recall@hop2", Interval(0.6813, 0.6123, 0.75, 80))
    assert said == "SFT: recall@hop2 is 68.1 % (95 % interval 61.2 % to 75.0 %, n = 80)."


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (difference(0.14, 0.06, 0.22), "14.0 points above base"),
        (difference(0.14, 0.06, 0.22), "better by more than chance"),
        (difference(-0.14, -0.22, -0.06), "worse by more than chance"),
        (difference(0.04, -0.01, 0.09), "which may be chance"),
        (difference(-0.04, -0.06, -0.01, "mmlu/ece"), "better by more than chance"),
        (difference(0.04, 0.01, 0.06, "ece"), "worse by more than chance"),
        (difference(0.0, -0.01, 0.01), "level with base"),
        (difference(-0.5, -0.7, -0.2, "loss"), "0.5 below base"),
        (difference(0.14, 0.06, 0.22), "95 % interval +6.0 to +22.0 points, n = 80"),
        (difference(0.14, 0.06, 0.22, n=5), "n = 5): too few to tell, 6 are the least that can"),
        (difference(0.14, 0.06, 0.22, n=6), "better by more than chance"),
        (difference(0.14, 0.06, 0.22, clusters=5), "n = 80): too few to tell"),
        (difference(-0.5, -0.5, -0.5, n=3), "too few to tell"),
        (difference(0, 0, 0, n=3), "too few to tell"),
    ],
)
def test_a_comparison_says_which_way_and_whether_it_may_be_chance(one: Difference, verdict: str) -> None:
    assert verdict in difference_sentence(one)


def test_rates_are_in_points_and_numbers_as_they_are() -> None:
    assert unit("mmlu/ece") == "rate"
    assert unit("target/rmse") == "number"
    assert difference_unit("mmlu/ece") == "points"
    assert difference_unit("target/rmse") == "number"
    assert format_value(0.052, "rate") == "5.2 %"
    assert format_value(0.052, "points") == "+5.2"
    assert distance(-0.021, "accuracy", sign=True) == "-2.1"
    assert distance(1.234, "nll", sign=True) == "+1.23"


@pytest.mark.parametrize(
    ("names", "headline"),
    [
        (["recall@hop1", "ap@hop1", "recall@hop2", "bridge/recall@hop2"], ["recall@hop2"]),
        (["mmlu/accuracy", "mmlu/ece", "nq/accuracy", "nq/ece"], ["mmlu/ece", "nq/ece"]),
        (["accuracy", "web/accuracy", "effective-heads"], ["accuracy"]),
        (["rmse-ratio", "wine/rmse"], ["rmse-ratio"]),
        (["loss", "nll", "token-ece"], ["loss"]),
        (["something-new"], ["something-new"]),
        ([], []),
    ],
)
def test_a_run_is_about_its_first_question(names: list[str], headline: list[str]) -> None:
    assert headline_metrics(results({"row": names})) == headline


def test_of_hundreds_of_rows_those_with_five_labels_are_told() -> None:
    rows = {f"hyre/{source} @{n}": ["accuracy"] for source in "abcdefghij" for n in (0, 1, 5, 16)}
    assert [row.name for row in headline_rows(results(rows), "accuracy")] == [
        f"hyre/{s} @5" for s in "abcdefghij"
    ]


def test_the_row_a_run_is_about() -> None:
    rows = {name: ["quiz/ece"] for name in ("uncalibrated", "transformer", "linear")}
    assert main_row(results(rows), "quiz/ece") == "transformer"
    assert main_row(results(rows), "quiz/ece", "linear") == "linear"
    several = tuple(Difference("uncalibrated", b, "quiz/ece", 0, 0, 0, 8) for b in ("transformer", "linear"))
    assert main_row(results(rows, several), "quiz/ece") == "uncalibrated"
    assert main_row(results({"a": ["loss"], "b": ["loss"]}), "loss") == "b"
    # Of as many comparisons the first row with labels: the recipe's own method, and no baseline.
    tied = tuple(Difference(a, "ridge @5", "accuracy", 0, 0, 0, 8) for a in ("hyre/a @5", "hyre/b @5"))
    rows = {name: ["accuracy"] for name in ("hyre/a @5", "hyre/b @5", "ridge @5")}
    assert main_row(results(rows, tied), "accuracy") == "hyre/a @5"


def test_of_ten_hops_the_tenth_is_the_last() -> None:
    names = [f"recall@hop{number}" for number in range(1, 11)]
    assert headline_metrics(results({"row": names})) == ["recall@hop10"]


def test_a_metric_without_a_better_side_is_not_called_better() -> None:
    assert difference_sentence(difference(-3, -4, -2, "effective-heads")).endswith("by more than chance.")
    assert "worse" not in difference_sentence(difference(-3, -4, -2, "effective-heads"))
    assert "exactly level" in difference_sentence(difference(0, 0, 0))
