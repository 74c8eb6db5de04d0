"""The journal survives being cut at any byte, and tells a broken middle from a torn end."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.core.errors import MachineError, RunError
from lmtools.core.journal import Journal
from lmtools.core.strings import well_formed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
records = st.dictionaries(st.text(), st.dictionaries(st.text(), json_values, max_size=3), max_size=5)


def fill(path, entries):
    with Journal(path) as journal:
        for key, value in entries.items():
            journal.append(key, value)


@given(entries=records)
@settings(max_examples=40)
def test_what_went_in_comes_out_in_order(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    fill(path, entries)
    with Journal(path) as journal:
        assert journal.keys() == list(entries)
        assert {key: journal.get(key) for key in journal} == entries
        assert journal.get("\0 never there") is None


def test_cut_at_every_byte_it_resumes_to_the_same_bytes(tmp_path):
    entries = {
        f"q{i}/hop{i % 2}": {"query": f"who wrote “{i}”?\n", "reward": i / 3, "odd": "\ud800\u2028"}
        for i in range(4)
    }
    whole = tmp_path / "whole.jsonl"
    fill(whole, entries)
    data = whole.read_bytes()
    ends = [index + 1 for index, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut])
        with Journal(path) as journal:
            assert len(journal) == sum(end <= cut for end in ends)
            assert path.stat().st_size == max((end for end in ends if end <= cut), default=0)
            for key, value in entries.items():
                if key not in journal:
                    journal.append(key, value)
        assert path.read_bytes() == data


def test_a_record_is_in_the_file_at_once(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append("a", {"x": 1})
    assert json.loads((tmp_path / "j.jsonl").read_text()) == {"key": "a", "value": {"x": 1}}
    journal.close()


@pytest.mark.parametrize(
    "broken", ["", "{", '{"key": 1, "value": {}}', '{"key": "a"}', "[]", '{"key": "a", "value": []}']
)
def test_a_broken_line_in_the_middle_is_an_error_and_the_file_stays(tmp_path, broken):
    path = tmp_path / "j.jsonl"
    good = '{"key": "%s", "value": {}}\n'
    path.write_text(good % "a" + broken + "\n" + good % "b")
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"j\.jsonl:2: not a journal record") as caught:
        Journal(path)
    assert "delete line 2" in caught.value.fix
    assert path.read_bytes() == before


def test_a_key_twice_in_the_file_is_an_error(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"key": "a", "value": {}}\n' * 2)
    with pytest.raises(RunError, match="'a' is recorded twice"):
        Journal(path)


def test_a_key_is_appended_once(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append("a", {})
        with pytest.raises(ValueError, match="'a' is in the journal already"):
            journal.append("a", {})


def test_numbers_that_json_lacks_are_refused_and_leave_no_trace(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(ValueError, match="JSON compliant"):
            journal.append("a", {"x": float("nan")})
        assert "a" not in journal
    assert (tmp_path / "j.jsonl").read_bytes() == b""


def test_values_are_what_a_resumed_run_would_read(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append("a", {"pair": (1, 2)})
        assert journal.get("a") == {"pair": [1, 2]}


def test_a_beside_standing_process_writes_nothing(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path, writable=False) as journal:
        journal.append("a", {"x": 1})
        assert journal.get("a") == {"x": 1}
    assert not path.exists()


def test_a_full_disk_leaves_whole_records(tmp_path, monkeypatch):
    import errno
    import os

    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.append("a", {"x": 1})
    before = path.read_bytes()
    real_write = os.write

    def half_then_full(file, data):
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(MachineError, match="No space left on device") as caught:
        journal.append("b", {"text": "y" * 100})
    monkeypatch.undo()
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before
    journal.append("b", {"x": 2})
    journal.close()
    assert Journal(path, writable=False).keys() == ["a", "b"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot write"):
        Journal(tmp_path / "file" / "j.jsonl")


@pytest.mark.parametrize("text", ["\ud800", "a\udfff\U0001f600\ud83d", "\\ud800 as it is typed"])
def test_texts_that_no_file_can_hold_are_read_so_that_one_can(tmp_path, text):
    path = tmp_path / "j.jsonl"
    line = json.dumps({"key": "q", "value": {"answers": [{"text": text, "score": 0.5}], text: None}})
    path.write_text(f"{line}\n")
    with Journal(path) as journal:
        resumed = journal.get("q")
    with Journal(tmp_path / "new.jsonl") as journal:
        journal.append("q", json.loads(line)["value"])
        assert journal.get("q") == resumed
    clean = well_formed(text)
    assert resumed == {"answers": [{"text": clean, "score": 0.5}], clean: None}
    json.dumps(resumed, ensure_ascii=False).encode()


def test_a_last_line_of_brackets_is_torn_off(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text("[" * 200_000 + "\n")
    with Journal(path) as journal:
        assert len(journal) == 0
