"""The verdict: against the strongest baseline, in one sentence, and none where nothing can be told."""

import pytest

from lmtools.cli.output import show_results
from lmtools.core.results import Difference, Interval, Results, Row
from lmtools.report.verdict import ranked, verdict, verdicts


def rows(metric: str, **values: float) -> tuple[Row, ...]:
    return tuple(
        Row(name.replace("_", " "), {metric: Interval(value, value - 0.1, value + 0.1, 80)})
        for name, value in values.items()
    )


def difference(a: str, b: str, metric: str, value: float, half: float = 0.05, n: int = 80) -> Difference:
    return Difference(a, b, metric, value, value - half, value + half, n)


def results(table: tuple[Row, ...], *differences: Difference) -> Results:
    return Results("r", "c", 0, {}, {}, table, differences)


TABLE = (
    *rows("recall@hop2", base=0.5, question=0.6, SFT=0.9),
    Row("SFT + preference", {"recall@hop2": Interval(0.75, 0.65, 0.85, 80)}),
)
MAIN = "SFT + preference"


def judged(*differences: Difference) -> str:
    return verdict(results(TABLE, *differences), "recall@hop2", MAIN).sentence


def test_the_strongest_baseline_comes_first_and_the_methods_own_stages_last() -> None:
    given = [
        difference(MAIN, b, "recall@hop2", v) for b, v in (("base", 0.25), ("SFT", -0.15), ("question", 0.15))
    ]
    (one,) = verdicts(results(TABLE, *given))
    assert one.sentence == (
        "SFT + preference is better than question, the strongest baseline: recall@hop2 75.0 % against "
        "60.0 %, +15.0 points (paired, 95 % interval +10.0 to +20.0 points, n = 80)."
    )
    assert one.strongest is not None
    assert one.strongest[0] == "question"
    assert [d.b for d in one.differences] == ["question", "base", "SFT"]


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (difference(MAIN, "question", "recall@hop2", -0.15), "SFT + preference is worse than question"),
        (difference(MAIN, "question", "recall@hop2", 0.02), "SFT + preference cannot be told from question"),
        (
            difference(MAIN, "question", "recall@hop2", 0.5, 0, n=5),
            "5 are too few to tell SFT + preference from question, the strongest baseline (6 are needed at",
        ),
        (
            difference(MAIN, "base", "recall@hop2", 0.25),
            "SFT + preference was not compared in pairs with question, the strongest baseline: recall@hop2 "
            "75.0 % against 60.0 % (95 % intervals 65.0 % to 85.0 % and 50.0 % to 70.0 %, n = 80).",
        ),
    ],
)
def test_a_verdict_claims_what_the_pairs_can_bear(gap: Difference, words: str) -> None:
    assert judged(gap).startswith(words)


def test_commands_print_it_below_their_table(capsys: pytest.CaptureFixture[str]) -> None:
    gap = difference(MAIN, "question", "recall@hop2", 0.15)
    show_results(results(TABLE, gap), "the end", ["recall@hop2"])
    table, said, end = capsys.readouterr().err.strip().split("\n\n")
    assert "75.0 % [65.0 %, 85.0 %]" in table
    assert said == judged(gap)
    assert end == "the end"


def test_without_a_comparison_there_is_the_figure_alone() -> None:
    one = verdict(results(TABLE), "recall@hop2", MAIN)
    assert one.strongest is None
    assert one.sentence.startswith("SFT + preference: recall@hop2 is 75.0 %")
    assert verdicts(results(())) == []


def test_of_errors_the_strongest_is_the_smallest() -> None:
    table = rows("mmlu/ece", uncalibrated=0.3, transformer=0.1, Platt=0.2, linear=0.05)
    assert ranked(table, "mmlu/ece", "transformer") == ["Platt", "uncalibrated"]
    gap = difference("transformer", "Platt", "mmlu/ece", -0.1)
    said = verdict(results(table, gap), "mmlu/ece", "transformer").sentence
    assert said.startswith(
        "transformer is better than Platt, the strongest baseline: mmlu/ece 10.0 % against 20.0 %"
    )


def test_baselines_have_as_many_labels_or_none_and_do_not_know_the_answers() -> None:
    names = (
        "hyre/pca @5",
        "hyre/pca @16",
        "hyre/epinet @5",
        "oracle-head/pca @0",
        "logistic @16",
        "logistic @5",
    )
    names += ("single-head @0", "uniform/pca @0")
    table = tuple(Row(name, {"accuracy": Interval(0.9 - i / 10, 0, 1, 8)}) for i, name in enumerate(names))
    assert ranked(table, "accuracy", "hyre/pca @5") == ["logistic @5", "single-head @0", "uniform/pca @0"]


def test_numbers_are_not_told_in_points() -> None:
    table = rows("loss", uncalibrated=2.0, transformer=1.5)
    gap = difference("transformer", "uncalibrated", "loss", -0.5)
    said = verdict(results(table, gap), "loss", "transformer").sentence
    assert said.endswith("loss 1.5 against 2, -0.5 (paired, 95 % interval -0.55 to -0.45, n = 80).")
