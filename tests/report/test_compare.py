"""Several runs side by side: pairs of the same examples, and a warning where the inputs are not the same."""

from pathlib import Path

import pytest
from written_run import write_run

from lmtools.report.charts import chart_table
from lmtools.report.elements import Dots, Prose, Section, Table
from lmtools.report.page import Outcomes, comparison_sections, differing_inputs
from lmtools.report.run_files import Source, read_source

ROWS = {"SFT": {"accuracy": 0.7}}


def outcomes_of(found: dict[str, Outcomes]):
    return lambda run: found[run.name]


def values(right: list[float], first: int = 0) -> Outcomes:
    return {"SFT": {"accuracy": {f"q{first + n}": value for n, value in enumerate(right)}}}


def compared(tmp_path: Path, one: Outcomes, two: Outcomes, **inputs: dict[str, str]) -> list[Section]:
    runs = [read_source(write_run(tmp_path / name, ROWS, inputs=inputs.get(name))) for name in ("a", "b")]
    return comparison_sections(runs, outcomes_of({"a": one, "b": two}))


def test_differences_are_paired_on_the_examples_that_both_measured(tmp_path: Path) -> None:
    _, paired, _ = compared(tmp_path, values([0, 0, 0, 1]), values([1, 1, 1], first=1))
    said, plot = paired.parts
    assert isinstance(plot, Dots)
    ((name, interval),) = plot.rows
    assert name == "SFT"
    assert interval.n == 3
    assert interval.value == pytest.approx(2 / 3)
    assert isinstance(said, Prose)
    assert said.text.startswith("SFT · b is 66.7 points above SFT · a in accuracy")
    assert said.text.endswith("n = 3): too few to tell, 6 are the least that can.")


def test_a_difference_of_rates_is_in_points_everywhere(tmp_path: Path) -> None:
    _, paired, _ = compared(tmp_path, values([0] * 8 + [1] * 8), values([1] * 16))
    said, plot = paired.parts
    assert isinstance(plot, Dots)
    assert plot.unit == "points"
    assert plot.title.endswith("less a, paired, in points")
    columns, (row,) = chart_table(plot)
    assert columns[1] == "points"
    assert row[1] == "+50.0"
    assert "%" not in row[2]
    assert plot.rows[0][1].method == "bootstrap-gaffke"
    assert isinstance(said, Prose)
    assert said.text.endswith(" points, n = 16): better by more than chance.")


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


def test_figures_stand_row_by_row(tmp_path: Path) -> None:
    first, _, _ = compared(tmp_path, {}, {})
    plot, table = first.parts
    assert isinstance(plot, Dots)
    assert [name for name, _ in plot.rows] == ["SFT · a", "SFT · b"]
    assert isinstance(table, Table)
    assert table.rows[0][0] == "SFT: accuracy"


def test_an_unfinished_run_is_left_out_with_a_warning(tmp_path: Path) -> None:
    runs = [read_source(write_run(tmp_path / "a", ROWS)), read_source(write_run(tmp_path / "b"))]
    first, _, _ = comparison_sections(runs, outcomes_of({"a": values([1]), "b": {}}))
    assert isinstance(first.parts[0], Prose)
    assert first.parts[0].text == "b is not finished: what it has is left out."
