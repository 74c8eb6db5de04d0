"""MMLU: tables without a header, alone or as a folder, and what is wrong in them."""

import csv
import gzip
import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.data.faults import BrokenRecordsError
from lmtools.data.readers.mmlu import is_mmlu
from lmtools.data.records import MultipleChoice
from lmtools.data.sources import load_choices, source_hash

ROWS = [["What is 1 + 1?", "1", "2", "3", "4", "B"], ["Which set,\nif any?", '{"a"}', "{b}", "", "d", "A"]]


def table(rows) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sums_test.csv").write_text(table(ROWS))
    (tmp_path / "anatomy_test.csv").write_text(table([["Where is the femur?", *"abcd", "D"]]))
    (tmp_path / "notes.txt").write_text("not a table")
    return tmp_path


def test_one_table(folder):
    assert load_choices(str(folder / "sums_test.csv")) == [
        MultipleChoice(
            id="sums-test-0",
            question="What is 1 + 1?",
            choices=("1", "2", "3", "4"),
            answer=1,
            subject="sums",
        ),
        MultipleChoice(
            id="sums-test-1",
            question="Which set,\nif any?",
            choices=('{"a"}', "{b}", "", "d"),
            answer=0,
            subject="sums",
        ),
    ]


def test_a_folder_has_its_tables_by_name(folder):
    found = load_choices(str(folder))
    assert [question.id for question in found] == ["anatomy-test-0", "sums-test-0", "sums-test-1"]
    assert load_choices(str(folder), limit=1) == found[:1]


def test_a_gzipped_table_of_another_name(tmp_path):
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(table(ROWS).encode()))
    found = load_choices(str(tmp_path / "mine.csv.gz"))
    assert [(question.id, question.subject) for question in found] == [("mine-0", "mine"), ("mine-1", "mine")]


def test_faults_of_all_tables_are_told_together_with_file_line_field_and_mend(folder):
    (folder / "sums_test.csv").write_text(table([*ROWS, ["Six?", *"1234", "E"], ["Few", "a", "B"]]))
    (folder / "anatomy_test.csv").write_text(table([["", *"abcd", "D"], *ROWS]))
    with pytest.raises(BrokenRecordsError) as caught:
        load_choices(str(folder))
    assert caught.value.total == 3
    lines = str(caught.value).splitlines()
    assert f"{folder / 'anatomy_test.csv'}:1: question: is empty (write at least one character)" in lines[1]
    assert (
        f"{folder / 'sums_test.csv'}:4: answer: expected `A`, `B`, `C` or `D`, found text ('E')" in lines[2]
    )
    assert "(write `A`, `B`, `C` or `D`)" in lines[2]
    assert f"{folder / 'sums_test.csv'}:5: 3 cells, and 6 are expected" in lines[3]


def test_an_id_of_two_tables_names_both(folder):
    (folder / "sums_test.csv.gz").write_bytes(gzip.compress(table(ROWS[:1]).encode()))
    with pytest.raises(BrokenRecordsError) as caught:
        load_choices(str(folder))
    first, again = folder / "sums_test.csv", folder / "sums_test.csv.gz"
    assert str(caught.value).startswith(f"{again}:1: id: 'sums-test-0' is the id of line 1 of {first} too")


def test_no_more_than_20_faults_are_spelled_out(tmp_path):
    (tmp_path / "x_test.csv").write_text(table([["Which?", *"abcd", "E"]] * 30))
    with pytest.raises(BrokenRecordsError) as caught:
        load_choices(str(tmp_path / "x_test.csv"))
    assert (caught.value.total, len(caught.value.faults)) == (30, 20)
    assert "and 10 more" in str(caught.value)


@pytest.mark.parametrize("name", ["x_test.csv", ""])
def test_an_empty_table_or_folder(tmp_path, name):
    (tmp_path / "x_test.csv").write_text("\n")
    with pytest.raises(DataError, match="empty"):
        load_choices(str(tmp_path / name))


def test_a_folder_without_tables_is_no_source(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_choices(str(tmp_path))


def test_a_table_with_a_header_is_told_by_its_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,question,A,B,C,D,answer\n7,Which?,a,b,c,d,C\n")
    assert not is_mmlu(path)
    assert load_choices(str(path))[0].answer == 2


@pytest.mark.parametrize("text", ["id,question\na,Who?\n", "a,b,c,d,e,answer\n1,2,3,4,5,six\n"])
def test_other_tables_are_not_mistaken(tmp_path, text):
    (tmp_path / "q.csv").write_text(text)
    assert not is_mmlu(tmp_path / "q.csv")


def test_the_hash_of_a_folder_is_of_its_tables(folder):
    before = source_hash(str(folder))
    (folder / "notes.txt").write_text("changed")
    assert source_hash(str(folder)) == before
    (folder / "sums_test.csv").write_text(table(ROWS[:1]))
    assert source_hash(str(folder)) != before


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), max_size=8)


@given(
    st.lists(
        st.tuples(cells.filter(bool), cells, cells, cells, cells, st.sampled_from("ABCD")),
        min_size=1,
        max_size=6,
    )
)
def test_every_table_reads_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("round") / "any_val.csv"
    path.write_text(table(rows), encoding="utf-8", newline="")
    found = [(one.question, *one.choices, "ABCD"[one.answer]) for one in load_choices(str(path))]
    assert found == rows


def test_the_real_files(shared_data):
    found = load_choices(str(shared_data / "mmlu" / "test"))
    assert len({question.subject for question in found}) == 40
    assert len({question.id for question in found}) == len(found) == 10151
    assert min(Counter(question.answer for question in found).values()) > 2000
    dev = load_choices(str(shared_data / "mmlu" / "dev"))
    assert set(Counter(question.subject for question in dev).values()) == {5}
    assert len(load_choices(str(shared_data / "mmlu" / "val"))) == 1531
    assert dev[0] == MultipleChoice(
        id="abstract_algebra-dev-0",
        question="Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.",
        choices=("0", "1", "2", "3"),
        answer=1,
        subject="abstract_algebra",
    )
