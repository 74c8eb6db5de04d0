"""Result files: there and back, and refusals that name the file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.core.results import Difference, Interval, Results, Row, from_json, read_results

figures = st.floats(allow_nan=False, allow_infinity=False)
intervals = st.builds(Interval, figures, figures, figures, st.integers(1))
rows = st.lists(st.builds(Row, st.text(), st.dictionaries(st.text(), intervals, max_size=3)), max_size=3)
differences = st.lists(st.builds(Difference.of, st.text(), st.text(), st.text(), intervals), max_size=2)


def results(rows=(), differences=()):
    machine = {"cpu": "Some CPU", "cores": 2, "memory_gb": 8.0}
    return Results(
        "leret/quickstart", "lmtools quickstart", 0, {"python": "3.11"}, machine, rows, differences
    )


@given(rows, differences)
def test_there_and_back(some_rows, some_differences):
    value = results(tuple(some_rows), tuple(some_differences))
    assert from_json(value.to_json()) == value


def test_the_file_follows_the_contract(tmp_path):
    how = {"method": "clopper-pearson", "clusters": 300}
    gain = Difference.of("SFT", "base", "recall@hop2", Interval(0.2, 0.1, 0.3, 300, *how.values()))
    row = Row("base", {"recall@hop2": Interval(0.5, 0.45, 0.55, 300, *how.values())})
    results((row,), (gain,)).write(tmp_path / "metrics.json")
    value = json.loads((tmp_path / "metrics.json").read_text())
    assert list(value) == ["recipe", "command", "seed", "versions", "machine", "rows", "differences"]
    assert value["rows"] == [
        {
            "name": "base",
            "metrics": {"recall@hop2": {"value": 0.5, "low": 0.45, "high": 0.55, "n": 300} | how},
        }
    ]
    assert value["differences"] == [
        {"a": "SFT", "b": "base", "metric": "recall@hop2", "value": 0.2, "low": 0.1, "high": 0.3, "n": 300}
        | how
    ]
    assert read_results(tmp_path / "metrics.json").row("base") == row


def test_a_file_without_methods_has_percentile_intervals():
    figures = '{"value": 0.5, "low": 0.4, "high": 0.6, "n": 8}'
    row = f'{{"name": "base", "metrics": {{"ece": {figures}}}}}'
    head = '"recipe": "r", "command": "c", "seed": 0, "versions": {}, "machine": {}'
    old = from_json(f'{{{head}, "rows": [{row}]}}').row("base").metrics["ece"]
    assert old == Interval(0.5, 0.4, 0.6, 8, "bootstrap-percentile", 0)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        results((Row("base", {"ece": Interval(float("nan"), 0, 0, 1)}),)).to_json()


def test_no_such_row():
    with pytest.raises(KeyError):
        results().row("base")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"name": "a"}]}', '{"rows": 3}'])
def test_other_files_are_refused_by_name(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json: not a result file"):
        read_results(path)


def test_absent_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "metrics.json")
