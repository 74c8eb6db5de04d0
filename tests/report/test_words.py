"""Figures in words: the right verdict, the right unit, and what a run is about."""

import pytest

from lmtools.core.results import Difference, Results, Row
from lmtools.core.statistics import Interval
from lmtools.report.words import (
    compared,
    distance,
    headline_metrics,
    headline_rows,
    main_differences,
    measured,
    unit,
)  # fmt: skip


def results(rows: dict[str, list[str]], differences: tuple[Difference, ...] = ()) -> Results:
    made = tuple(Row(name, dict.fromkeys(own, Interval(0.5, 0.4, 0.6, 10))) for name, own in rows.items())
    return Results("r", "c", 0, {}, {}, made, differences)


def difference(value: float, low: float, high: float, metric: str = "recall@hop2") -> Difference:
    return Difference("SFT", "base", metric, value, low, high, 80)


def test_a_measurement_in_a_sentence() -> None:
    said = measured("SFT", "recall@hop2", Interval(0.6813, 0.6123, 0.75, 80))
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
    ],
)
def test_a_comparison_says_which_way_and_whether_it_may_be_chance(one: Difference, verdict: str) -> None:
    assert verdict in compared(one)


def test_rates_are_in_points_and_numbers_as_they_are() -> None:
    assert unit("mmlu/ece") == "rate"
    assert unit("target/rmse") == "number"
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


def test_sure_differences_come_first() -> None:
    found = results({"SFT": ["recall@hop2"]}, (difference(0.0, -1, 1), difference(0.2, 0.1, 0.3)))
    assert [one.value for one in main_differences(found, ["recall@hop2"])] == [0.2, 0.0]
