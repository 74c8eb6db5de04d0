"""What every run's page tells: what came out, in words and as a plot, what was run, and how long it took."""

from pathlib import Path

import pytest
from written_run import write_run

from lmtools.core.errors import DataError, RunError
from lmtools.core.results import Difference
from lmtools.report.elements import Bars, Code, Dots, Facts, Part, Prose, Table
from lmtools.report.page import run_sections
from lmtools.report.run_files import read_source

ROWS = {
    "zero-shot base": {"recall@hop1": 0.4, "recall@hop2": 0.5},
    "SFT": {"recall@hop1": 0.6, "recall@hop2": 0.7},
}


def told(directory: Path) -> tuple[list[Part], list[Part]]:
    first, second = run_sections(read_source(directory))
    return list(first.parts), list(second.parts)


def test_the_headline_is_a_sentence_a_comparison_and_a_plot(tmp_path: Path) -> None:
    better = Difference("SFT", "zero-shot base", "recall@hop2", 0.2, 0.1, 0.3, 80)
    parts, _ = told(write_run(tmp_path / "run", ROWS, differences=[better]))
    lead, comparison, plot, table = parts
    assert isinstance(lead, Prose)
    assert lead.text.startswith("SFT: recall@hop2 is 70.0 %")
    assert isinstance(comparison, Prose)
    assert "better by more than chance" in comparison.text
    assert isinstance(plot, Dots)
    assert [name for name, _ in plot.rows] == ["zero-shot base", "SFT"]
    assert plot.strong == "SFT"
    assert isinstance(table, Table)
    assert table.rows[1] == ("SFT", "60.0 % [55.0 %, 65.0 %]", "70.0 % [65.0 %, 75.0 %]")


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
    parts, origin = told(write_run(tmp_path / "run"))
    assert isinstance(parts[0], Prose)
    assert parts[0].kind == "warning"
    assert "not finished" in parts[0].text
    assert isinstance(origin[0], Facts)
    assert origin[0].rows["Finished"] == "not yet"


def test_a_folder_that_is_no_run_and_damaged_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        read_source(tmp_path)
    directory = write_run(tmp_path / "run", ROWS)
    (directory / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"metrics\.json"):
        read_source(directory)
