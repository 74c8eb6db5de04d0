"""`lmtools report`, and the page that every run ends with."""

import json
from pathlib import Path

import pytest
from written_run import write_calibration_run, write_run

from lmtools.cli.app import run

ROWS = {"SFT": {"recall@hop2": 0.7}}


def test_a_run_gets_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_run(tmp_path / "run", ROWS)
    assert run(["report", str(directory), "--json"]) == 0
    page = directory / "report.html"
    assert json.loads(capsys.readouterr().out) == {"runs": [str(directory)], "report": str(page)}
    text = page.read_text(encoding="utf-8")
    assert "SFT: recall@hop2 is 70.0 %" in text
    assert "lmtools leret train" in text


def test_a_run_inside_a_run_has_its_own_chapter(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "quickstart", ROWS)
    write_calibration_run(directory / "ats-eval", {"uncalibrated": [True, False]})
    assert run(["report", str(directory)]) == 0
    text = (directory / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="quickstart">' in text
    assert '<h2 id="ats-eval">' in text


def test_two_runs_are_compared_where_the_reader_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_calibration_run(tmp_path / "one", {"uncalibrated": [True, False, False, False]})
    two = write_calibration_run(tmp_path / "two", {"uncalibrated": [True, True, True, False]})
    monkeypatch.chdir(tmp_path)
    assert run(["report", str(one), str(two)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "uncalibrated · two is 50.0 points above uncalibrated · one in quiz/accuracy" in text


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name / "eval", ROWS) for name in ("a", "b")]
    assert run(["report", *map(str, runs), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "SFT · " + str(runs[0]) in text.replace("&#x27;", "'")


def test_no_run_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert run(["report"]) == 2


def test_a_page_replaces_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_run(tmp_path / "run", ROWS)
    before = (directory / "metrics.json").read_bytes()
    assert run(["report", str(directory), "--out", str(directory / "metrics.json")]) == 2
    assert "ends in .html" in capsys.readouterr().err
    assert (directory / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'{"rows": [{"name": "a", "metrics": {"x": {"value": "y"}}}]}']
)
def test_damaged_results_are_no_internal_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    directory = write_run(tmp_path / "run", ROWS)
    (directory / "metrics.json").write_bytes(content)
    assert run(["report", str(directory)]) == 2
    assert "metrics.json: not a result file" in capsys.readouterr().err


def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_calibration_run(tmp_path / "run", {"uncalibrated": [True]})
    (directory / "predictions.jsonl").write_text('{"id": 1}\n', encoding="utf-8")
    assert run(["report", str(directory)]) == 2
    assert "predictions.jsonl:1" in capsys.readouterr().err
