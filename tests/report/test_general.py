"""What every run's page tells: what came out, in words and as a plot, what was run, and how long it took."""

from pathlib import Path

import pytest
from written_run import write_run

from lmtools.core.errors import DataError, RunError
from lmtools.core.results import Difference
from lmtools.report.elements import Bars, Code, Dots, Facts, Figures, Part, Prose, Table
from lmtools.report.headline import figures, title, top
from lmtools.report.page import run_sections
from lmtools.report.run_files import read_source

ROWS = {
    "zero-shot base": {"recall@hop1": 0.4, "recall@hop2": 0.5},
    "SFT": {"recall@hop1": 0.6, "recall@hop2": 0.7},
}


def told(directory: Path) -> tuple[list[Part], list[Part]]:
    first, second = run_sections(read_source(directory))
    return list(first.parts), list(second.parts)


def test_what_came_out_is_a_plot_its_comparisons_and_all_figures(tmp_path: Path) -> None:
    better = Difference("SFT", "zero-shot base", "recall@hop2", 0.2, 0.1, 0.3, 80)
    parts, _ = told(write_run(tmp_path / "run", ROWS, differences=[better]))
    plot, comparison, table = parts
    assert isinstance(plot, Dots)
    assert [name for name, _ in plot.rows] == ["zero-shot base", "SFT"]
    assert plot.strong == "SFT"
    assert isinstance(comparison, Table)
    assert comparison.rows[0][:4] == ("zero-shot base", "+20.0", "+10.0 to +30.0", "80")
    assert isinstance(table, Table)
    assert table.rows[1] == ("SFT", "60.0 % [55.0 %, 65.0 %]", "70.0 % [65.0 %, 75.0 %]")


def test_the_top_is_a_verdict_and_large_figures_beside_the_strongest_baseline(tmp_path: Path) -> None:
    better = Difference("SFT", "zero-shot base", "recall@hop2", 0.2, 0.1, 0.3, 80)
    verdict, large = top([read_source(write_run(tmp_path / "run", ROWS, differences=[better]))])
    assert isinstance(verdict, Prose)
    assert "SFT is better than zero-shot base, the strongest baseline" in verdict.text
    assert isinstance(large, Figures)
    assert 3 <= len(large.items) <= 5
    first = large.items[0]
    assert (first.metric, first.row, first.value) == ("recall@hop2", "SFT", "70.0 %")
    assert first.baseline == "strongest baseline, zero-shot base: 50.0\u00a0%"


def test_a_page_of_several_runs_takes_figures_from_each_in_turn(tmp_path: Path) -> None:
    runs = [read_source(write_run(tmp_path / name, {name: {"accuracy": 0.5, "ece": 0.1}})) for name in "abc"]
    assert [item.row for item in figures(runs)] == ["a", "b", "c", "a", "b"]


@pytest.mark.parametrize(
    ("command", "recipe", "expected"),
    [
        ("leret train", "model: {name: 'builtin:tiny'}\ndata: {train: a/train.jsonl, test: /b/test.jsonl}",
         "LeReT training: tiny on train.jsonl, test.jsonl, 2026-01-01"),
        ("leret eval", "model: {name: /models/mine}\ndata: {train: x, test: 'atlas:test'}",
         "LeReT evaluation: mine on atlas:test, 2026-01-01"),
        ("hyre eval", "task: regression\nheads: [{source: pca}]\ndata: {tables: [a.csv, b.csv, c.csv]}",
         "HyRe evaluation: pca on a.csv, b.csv and 1 more, 2026-01-01"),
        ("eval calibration", "model: {name: m}\ntasks: [{name: mmlu}]",
         "Calibration measured: m on mmlu, 2026-01-01"),
        ("eval reward", "model: null\nrun: runs/mine\npairs: p.jsonl",
         "Reward model measured: mine on p.jsonl, 2026-01-01"),
        ("ats fit", "system: ats\nmodel: 7\ndata: []", "ATS temperature heads fitted, 2026-01-01"),
    ],
)  # fmt: skip
def test_the_title_says_what_which_model_on_what_and_when(
    tmp_path: Path, command: str, recipe: str, expected: str
) -> None:
    directory = write_run(tmp_path / "run", ROWS, command=("lmtools", *command.split()))
    (directory / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert title(read_source(directory)) == expected


def test_what_was_run_has_command_versions_hashes_timings_and_recipe(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", ROWS, inputs={"corpus.jsonl": "ab" * 32})
    _, parts = told(directory)
    facts, timings, versions, hashes, recipe = parts
    assert isinstance(facts, Facts)
    assert facts.rows["Command"] == "lmtools leret train"
    assert facts.rows["Machine"] == "Linux x86_64, a processor, 2 cores, 24.0 GB"
    assert isinstance(timings, Bars)
    assert [name for name, _ in timings.rows] == ["explore 1 (3 min 20 s)", "SFT 1 (1 min 30 s)"]
    assert isinstance(versions, Facts)
    assert versions.rows["python"] == "3.11.7"
    assert isinstance(hashes, Table)
    assert hashes.rows == [("corpus.jsonl", "ab" * 32)]
    assert isinstance(recipe, Code)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (warning,), (_, origin) = top([read_source(run)]), told(run)
    assert isinstance(warning, Prose)
    assert warning.kind == "warning"
    assert "not finished" in warning.text
    assert isinstance(origin[0], Facts)
    assert origin[0].rows["Finished"] == "not yet"


def test_a_folder_that_is_no_run_and_damaged_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        read_source(tmp_path)
    directory = write_run(tmp_path / "run", ROWS)
    (directory / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"metrics\.json"):
        read_source(directory)
