"""Several runs side by side: pairs of the same examples, and a warning where the inputs are not the same."""

from pathlib import Path

import pytest
from written_run import write_run

from lmtools.report.charts import chart_table
from lmtools.report.elements import Dots, Prose, Section, Table
from lmtools.report.page import Outcomes, comparison_sections, differing_inputs, paired_differences
from lmtools.report.run_files import Source, read_source

ROWS = {"SFT": {"accuracy": 0.7}}


def outcomes_of(found: dict[str, Outcomes]):
    return lambda run: found[run.name]


def values(right: list[float], first: int = 0) -> Outcomes:
    return {"SFT": {"accuracy": {f"q{first + n}": value for n, value in enumerate(right)}}}


def compared(tmp_path: Path, one: Outcomes, two: Outcomes, **inputs: dict[str, str]) -> list[Section]:
    runs = [read_source(write_run(tmp_path / name, ROWS, inputs=inputs.get(name))) for name in ("a", "b")]
    return comparison_sections(runs, paired_differences(runs, outcomes_of({"a": one, "b": two})))


def test_differences_are_paired_on_the_examples_that_both_measured(tmp_path: Path) -> None:
    _, paired, _ = compared(tmp_path, values([0, 0, 0, 1]), values([1, 1, 1], first=1))
    plot, table = paired.parts
    assert isinstance(plot, Dots)
    assert plot.unit == "points"
    ((name, interval),) = plot.rows
    assert name == "SFT"
    assert interval.n == 3
    assert interval.value == pytest.approx(2 / 3)
    assert isinstance(table, Table)
    assert table.rows[0][:2] == ("SFT", "+66.7")


def test_a_difference_of_rates_is_in_points_everywhere(tmp_path: Path) -> None:
    _, paired, _ = compared(tmp_path, values([0] * 8 + [1] * 8), values([1] * 16))
    plot, table = paired.parts
    assert isinstance(plot, Dots)
    assert plot.unit == "points"
    assert plot.title.endswith("less a, paired, in points")
    columns, (row,) = chart_table(plot)
    assert columns[1] == "points"
    assert row[1] == "+50.0"
    assert "%" not in row[2]
    assert plot.rows[0][1].method == "bootstrap-gaffke"
    assert isinstance(table, Table)
    assert table.rows[0][1] == "+50.0"


def test_runs_without_a_shared_example_say_so(tmp_path: Path) -> None:
    _, paired, _ = compared(tmp_path, values([1]), values([1], first=7))
    assert isinstance(paired.parts[0], Prose)
    assert "share no measured example" in paired.parts[0].text


def test_inputs_that_differ_are_a_warning_with_their_hashes(tmp_path: Path) -> None:
    inputs = {"a": {"test.jsonl": "aa" * 32, "same": "11"}, "b": {"test.jsonl": "bb" * 32, "same": "11"}}
    first, _, _ = compared(tmp_path, {}, {}, **inputs)
    warning, table = first.parts[:2]
    assert isinstance(warning, Prose)
    assert warning.kind == "warning"
    assert "test.jsonl had other content" in warning.text
    assert isinstance(table, Table)
    assert table.rows == [("test.jsonl", "aa" * 6, "bb" * 6)]


def test_the_same_inputs_are_no_warning(tmp_path: Path) -> None:
    inputs = {"a": {"test.jsonl": "aa"}, "b": {"test.jsonl": "aa"}}
    first, _, _ = compared(tmp_path, {}, {}, **inputs)
    assert not [part for part in first.parts if isinstance(part, Prose)]


def test_an_input_that_only_one_has_is_told(tmp_path: Path) -> None:
    runs: list[Source] = [
        read_source(write_run(tmp_path / name, ROWS, inputs=own))
        for name, own in (("a", {"x": "1"}), ("b", {}))
    ]
    assert differing_inputs(runs) == {"x": ["1", ""]}


@pytest.mark.parametrize(
    ("a", "b", "differing"),
    [
        ({"data/test.jsonl": "1"}, {"/home/me/data/test.jsonl": "1"}, {}),
        ({"data/test.jsonl": "1"}, {"/home/me/data/test.jsonl": "2"}, {"test.jsonl": ["1", "2"]}),
        ({"old-name.jsonl": "1"}, {"new/name.jsonl": "1"}, {}),
        (
            {"a/test.jsonl": "1", "b/test.jsonl": "2"}, {"a/test.jsonl": "1", "b/test.jsonl": "3"},
            {"b/test.jsonl": ["2", "3"]},
        ),
        ({"x": "1", "y": "1"}, {"x": "1", "y": "2"}, {"y": ["1", "2"]}),
        ({"x": "1", "corpus": "5"}, {"x": "1"}, {"corpus": ["5", ""]}),
    ],
)  # fmt: skip
def test_inputs_are_compared_by_content_whatever_their_path(
    tmp_path: Path, a: dict[str, str], b: dict[str, str], differing: dict[str, list[str]]
) -> None:
    runs = [read_source(write_run(tmp_path / name, ROWS, inputs=own)) for name, own in (("a", a), ("b", b))]
    assert differing_inputs(runs) == differing


def test_figures_stand_row_by_row(tmp_path: Path) -> None:
    first, _, _ = compared(tmp_path, {}, {})
    plot, table = first.parts
    assert isinstance(plot, Dots)
    assert [name for name, _ in plot.rows] == ["SFT · a", "SFT · b"]
    assert isinstance(table, Table)
    assert table.rows[0][0] == "SFT: accuracy"


def test_an_unfinished_run_is_left_out_with_a_warning(tmp_path: Path) -> None:
    runs = [read_source(write_run(tmp_path / "a", ROWS)), read_source(write_run(tmp_path / "b"))]
    first, _, _ = comparison_sections(runs, [[]])
    assert isinstance(first.parts[0], Prose)
    assert first.parts[0].text == "b is not finished: what it has is left out."
