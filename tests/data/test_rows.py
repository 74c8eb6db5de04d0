"""JSON arrays and tables give the same rows as JSONL, and say where they are broken."""

import gzip

import pytest

from lmtools.core.errors import DataError
from lmtools.data.rows import Row, read_rows


def rows(path, data: bytes) -> list[Row]:
    path.write_bytes(data)
    return list(read_rows(path).rows)


def test_the_formats_agree(tmp_path):
    value = {"id": "a", "question": "Who, me?", "supporting": ["T", "U"]}
    jsonl = b'{"id": "a", "question": "Who, me?", "supporting": ["T", "U"]}\n'
    assert rows(tmp_path / "a.jsonl", jsonl) == [Row(1, value)]
    assert rows(tmp_path / "a.jsonl.gz", gzip.compress(jsonl)) == [Row(1, value)]
    assert rows(tmp_path / "a.json", b"[" + jsonl + b"]") == [Row(1, value)]
    assert rows(tmp_path / "a.csv", b'id,question,supporting\na,"Who, me?",T | U\n') == [Row(2, value)]
    assert rows(tmp_path / "b.csv", b'id,question,supporting\na,"Who, me?","[""T"", ""U""]"\n') == [
        Row(2, value)
    ]
    assert rows(tmp_path / "a.tsv", b"id\tquestion\tsupporting\na\tWho, me?\tT|U\n") == [Row(2, value)]


def test_an_empty_list_cell_is_an_empty_list(tmp_path):
    assert rows(tmp_path / "a.csv", b"id,supporting\na,\n") == [Row(2, {"id": "a", "supporting": []})]


def test_only_list_columns_are_taken_apart(tmp_path):
    assert rows(tmp_path / "a.csv", b"id,question\na,x | [1]\n")[0].value["question"] == "x | [1]"


def test_a_row_too_long_is_a_fault_and_the_others_are_read(tmp_path):
    found = rows(tmp_path / "a.csv", b"id,question\na,b,c\nd,e\n")
    assert [len(row.faults) for row in found] == [1, 0]
    assert "more cells than the 2 columns" in found[0].faults[0].problem


def test_a_broken_array_names_line_and_column(tmp_path):
    with pytest.raises(DataError, match=r"a\.json:2: broken JSON at column 7"):
        rows(tmp_path / "a.json", b'[{"a": 1},\n{"b": }]')


def test_one_object_is_no_list_of_records(tmp_path):
    with pytest.raises(DataError, match="one JSON object, where a list of records is expected"):
        rows(tmp_path / "a.json", b'{\n"a": 1\n}')


def test_text_that_is_not_utf8_names_its_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:2: byte 0xe9 is not UTF-8"):
        rows(tmp_path / "a.csv", b"id,question\na,caf\xe9\n")
