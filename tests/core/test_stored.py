"""Files of runs and artefacts, damaged: one sentence each, whatever became of them."""

import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError, LmtoolsError, RunError
from lmtools.core.files import STALE, write_text
from lmtools.core.journal import Journal
from lmtools.core.manifest import read_manifest
from lmtools.core.results import read_results
from lmtools.core.stored import MALFORMED, describe, parse_json, read_arrays, read_lines
from lmtools.core.tracking import read_curves

DAMAGED = {
    "empty": b"",
    "truncated": b'{"part": "linear", "st',
    "another type": b"[1, 2]\n",
    "null": b"null\n",
    "not UTF-8": b'{"part": "z\xfcrich", "step": 1}\n',
    "deep": b"[" * 200_000 + b"\n",
    "too large": b'{"part": "linear", "step": 1e999}\n',
    "400 digits": b'{"part": "linear", "step": ' + b"9" * 400 + b"}\n",
    "NaN": b'{"part": "linear", "step": NaN}\n',
    "binary": bytes(range(256)) + b"\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("read", [read_manifest, read_results, read_arrays])
def test_a_damaged_file_is_named(tmp_path, read, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises((RunError, DataError), match=str(path)) as error:
        read(path)
    assert error.value.exit_code == 2
    assert error.value.fix


@pytest.mark.parametrize("name", [name for name in DAMAGED if name not in ("empty", "truncated")])
def test_a_damaged_curve_is_named_with_its_line(tmp_path, name):
    path = tmp_path / "training.jsonl"
    path.write_bytes(b'{"part": "linear", "step": 1, "epoch": 1, "loss": 2.0}\n' + DAMAGED[name])
    with pytest.raises(RunError, match=rf"{path}:2: "):
        read_curves(path)


@pytest.mark.parametrize("name", [name for name in DAMAGED if name not in ("empty", "truncated")])
def test_a_damaged_journal_is_named_with_its_line(tmp_path, name):
    path = tmp_path / "journal.jsonl"
    good = b'{"key": "a", "value": {"x": 1}}\n'
    path.write_bytes(DAMAGED[name] + good)
    with pytest.raises(RunError, match=rf"{path}:1: "):
        Journal(path)


def test_a_record_of_another_form_is_named_by_its_key(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("eval/q1", {"queries": 3})
        with pytest.raises(RunError, match=r"'eval/q1' is damaged: no 'contexts'"):
            journal.read("eval/q1", lambda record: record["contexts"])


@pytest.mark.parametrize("where", ["rows", "differences"])
@pytest.mark.parametrize("name", ["value", "low", "n", "method"])
def test_a_figure_of_another_type_is_named(tmp_path, where, name):
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "method": "x"} | {name: [1]}
    rows = [{"name": "base", "metrics": {"recall": interval}}] if where == "rows" else []
    differences = [interval | {"a": "x", "b": "y", "metric": "recall"}] if where == "differences" else []
    head = {"recipe": "r", "command": "c", "seed": 0, "versions": {}, "machine": {}}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(head | {"rows": rows, "differences": differences}))
    with pytest.raises(DataError, match=rf"{path}: not a result file \({name}: "):
        read_results(path)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: json.dumps(text).encode()))
def test_whatever_the_bytes_they_are_json_or_malformed(content):
    try:
        line = json.dumps(parse_json(content), allow_nan=False)
    except MALFORMED as error:
        line = describe(error)
    assert line.splitlines() == [line]


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    path = tmp_path / "a[1].json"
    old, new, foreign = (
        tmp_path / f".{name}.part"
        for name in ("a[1].json.abcdefgh", "a[1].json.ijklmnop", "a1.json.abcdefgh")
    )
    for part in (old, new, foreign):
        part.write_text("half")
    for part in (old, foreign):
        os.utime(part, (time.time() - 2 * STALE,) * 2)
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, new, foreign])


def test_an_error_holds_no_password():
    error = LmtoolsError("http://me:pass@host/v1 failed", fix="ask http://host/?api_key=abc again")
    assert str(error) == "http://***@host/v1 failed\n  fix: ask http://host/?api_key=*** again"
    assert "pass" not in error.args[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"[1]\n", "no JSON object"),
        (b'{"a": 1\n', "damaged"),
        (b'{"a": NaN}\n', "NaN is not a finite number"),
        (b'{"b": 1}\n', "no 'a'"),
        (b"\xff\n", "not UTF-8 text"),
        (b"[" * 100_000 + b"\n", "brackets too deep"),
        (b"\n", "damaged"),
    ],
)
def test_a_damaged_line_is_named_with_what_mends_it(tmp_path, line, says):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line)
    with pytest.raises(RunError) as caught:
        list(read_lines(path, lambda value: value["a"], "delete it"))
    assert caught.value.message.startswith(f"{path}:2: damaged: ")
    assert says in caught.value.message
    assert caught.value.fix == "delete it"
