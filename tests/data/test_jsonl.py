"""Every way a JSONL file can be wrong has its own message; everything right reads back as it was written."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data.faults import BrokenRecordsError
from lmtools.data.records import Passage, Question
from lmtools.data.rows import json_object, read_passages, read_questions, read_records

GOOD = b'{"id": "a", "question": "Who?", "supporting": ["T"]}\n'


@pytest.fixture
def questions(tmp_path):
    """Writes the bytes given to it to a file and returns its path."""

    def write(data: bytes, name: str = "q.jsonl"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def message(path, read=read_questions) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    return str(caught.value).replace(str(path), "FILE")


def test_reads_the_contract_and_ignores_fields_of_the_users_own(questions):
    path = questions(b'{"id": "a", "question": "Who?", "answer": "I", "aliases": ["me"], "mine": 3}\n')
    assert read_questions(path) == [Question(id="a", question="Who?", answer="I", aliases=("me",))]


def test_missing_column_names_the_near_miss(questions):
    path = questions(b'{"id": "a", "titel": "x", "text": "y"}\n')
    assert message(path, read_passages) == (
        "FILE:1: title: missing, but there is `titel`\n  fix: rename `titel` to `title`"
    )


def test_missing_column_without_a_near_miss(questions):
    assert message(questions(b'{"id": "a"}\n')) == "FILE:1: question: missing\n  fix: add `question`"


def test_wrong_type_says_what_was_found(questions):
    assert message(questions(GOOD + b'{"id": "b", "question": 7}\n')) == (
        "FILE:2: question: expected text, found a number (7)\n  fix: put it in quotes"
    )


def test_wrong_type_inside_a_list_names_the_place(questions):
    text = message(questions(b'{"id": "a", "question": "Who?", "supporting": ["T", null]}\n'))
    assert text.startswith("FILE:1: supporting[1]: expected text, found null")


def test_text_where_a_list_belongs_is_not_taken_apart(questions):
    text = message(questions(b'{"id": "a", "question": "Who?", "supporting": "Paris"}\n'))
    assert text.startswith("FILE:1: supporting: expected a list, found text ('Paris')")


def test_duplicate_ids_name_both_lines(questions):
    text = message(questions(GOOD + b'{"id": "b", "question": "Where?"}\n' + GOOD))
    assert text == "FILE:3: id: 'a' is the id of line 1 too\n  fix: give every record its own id"


def test_broken_json_names_line_and_column(questions):
    text = message(questions(GOOD + b"\n" + b'{"id": "b" "question": "x"}\n'))
    assert text.startswith("FILE:3: broken JSON at column 12: Expecting ',' delimiter")


@pytest.mark.parametrize("line", [b"[1, 2]", b"3", b'"x"', b"null", b"true"])
def test_a_line_that_is_no_object(questions, line):
    assert "FILE:2: an object is expected, found " in message(questions(GOOD + line + b"\n"))


def test_a_passage_of_5_mb_is_too_long(questions):
    path = questions(json.dumps({"id": "a", "title": "T", "text": "x" * 5_000_000}).encode())
    text = message(path, read_passages)
    assert text.startswith(
        "FILE:1: text: 5,000,000 characters, more than the 1,000,000 that a field may have"
    )
    assert "split it" in text


def test_a_long_passage_within_the_limit_is_read_whole(questions):
    path = questions(json.dumps({"id": "a", "title": "T", "text": "ß" * 1_000_000}).encode())
    assert len(read_passages(path)[0].text) == 1_000_000


def test_an_escaped_nul_is_a_fault(questions):
    text = message(questions(b'{"id": "a", "question": "x\\u0000y"}\n'))
    assert text == "FILE:1: question: a NUL character at position 2\n  fix: remove it"


def test_an_escaped_backslash_before_u0000_is_text(questions):
    path = questions(b'{"id": "a", "question": "x\\\\u0000y"}\n')
    assert read_questions(path)[0].question == "x\\u0000y"


def test_a_nul_byte_is_a_fault(questions):
    assert message(questions(b'{"id": "a", "question": "x\x00y"}\n')).startswith(
        "FILE:1: a NUL byte at column 27"
    )


@pytest.mark.parametrize(("escape", "code"), [(b"\\ud800", "ud800"), (b"\\udfff", "udfff")])
def test_a_lone_surrogate_is_a_fault(questions, escape, code):
    text = message(questions(b'{"id": "a", "question": "ab' + escape + b'"}\n'))
    assert text.startswith(f"FILE:1: question: half a surrogate pair, \\{code}, at position 3")


def test_a_whole_surrogate_pair_is_a_character(questions):
    assert read_questions(questions(b'{"id": "a", "question": "\\ud83d\\ude00"}\n'))[0].question == "😀"


def test_bytes_that_are_not_utf8(questions):
    text = message(questions(GOOD + b'{"id": "b", "question": "caf\xe9"}\n'))
    assert text.startswith("FILE:2: byte 29 (0xe9) is not UTF-8")


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_nesting_without_end_is_a_fault_and_no_crash(questions, depth):
    deep = b'{"id": "a", "question": "x", "y": ' + b"[" * depth + b"]" * depth + b"}"
    assert message(questions(deep)) == "FILE:1: JSON nested too deep\n  fix: simplify the record"


def test_all_faults_are_told_together_up_to_20(questions):
    path = questions(GOOD + b'{"id": "b"}\n' * 25)
    with pytest.raises(BrokenRecordsError) as caught:
        read_questions(path)
    assert caught.value.total == 25
    assert [fault.line for fault in caught.value.faults] == list(range(2, 22))
    assert "and 5 more" in caught.value.message
    assert "lmtools data check" in caught.value.fix


def test_blank_lines_line_ends_and_byte_order_mark(questions):
    path = questions(
        b"\xef\xbb\xbf\n" + GOOD.replace(b"\n", b"\r\n") + b"  \n" + b'{"id": "b", "question": "x"}'
    )
    assert [question.id for question in read_questions(path)] == ["a", "b"]


def test_gzip_by_content_whatever_the_name(questions):
    assert len(read_questions(questions(gzip.compress(GOOD), "q.dat"))) == 1


def test_damaged_gzip(questions):
    assert message(questions(gzip.compress(GOOD * 50)[:-9], "q.gz")).startswith("FILE: damaged gzip")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file(questions, data):
    assert message(questions(data)).startswith("FILE: empty")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'[{"id": "a"}]', "a JSON array"),
        (b'{\n  "id": "a"\n}', "JSON spread over several lines"),
        (b"id,question\na,Who?\n", "a CSV or TSV table"),
        (b"id\tquestion\na\tWho?\n", "a CSV or TSV table"),
        (b"PAR1\x00\x00", "a Parquet file"),
        (b"id;question\na;Who?\n", "a CSV or TSV table"),
        (b"BZh91AY", "a bzip2 archive"),
        (b"<!DOCTYPE html>\n", "HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_another_format_is_named_with_the_command_that_converts_it(questions, data, what):
    text = message(questions(data))
    assert text.startswith(f"FILE: {what}")
    assert "lmtools data prepare FILE" in text


def test_a_missing_file_names_its_neighbour(questions, tmp_path):
    questions(GOOD, "questions.jsonl")
    assert "did you mean" in message(tmp_path / "question.jsonl")
    assert "questions.jsonl" in message(tmp_path / "question.jsonl")


def test_a_folder_is_no_file(tmp_path):
    assert "cannot be read" in message(tmp_path)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
filled = names.filter(bool)
records = st.builds(
    Question,
    id=filled,
    question=filled,
    answer=names,
    aliases=st.lists(names, max_size=3).map(tuple),
    supporting=st.lists(names, max_size=3).map(tuple),
    kind=names,
)


@given(st.lists(records, min_size=1, max_size=5, unique_by=lambda record: record.id))
def test_questions_read_back_as_they_were_written(tmp_path_factory, expected):
    path = tmp_path_factory.mktemp("round") / "q.jsonl"
    write_jsonl(path, map(json_object, expected))
    assert read_questions(path) == expected


passages = st.builds(Passage, id=filled, title=names, text=names)


@given(st.lists(passages, min_size=1, max_size=5, unique_by=lambda passage: passage.id))
def test_passages_read_back_as_they_were_written(tmp_path_factory, expected):
    path = tmp_path_factory.mktemp("round") / "c.jsonl"
    write_jsonl(path, map(json_object, expected))
    assert read_records(path, Passage) == expected


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "q.jsonl"
    path.write_bytes(GOOD + data)
    try:
        told = read_questions(path)[0].id
    except DataError as error:
        told = str(error)
    assert told == "a" or str(path) in told


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["id", "question", "aliases", "supporting", "answer"]), json_values))
def test_any_object_is_a_record_or_a_fault_with_its_line(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "q.jsonl"
    path.write_text(json.dumps(value) + "\n")
    try:
        lines = [len(read_questions(path))]
    except BrokenRecordsError as error:
        lines = [fault.line for fault in error.faults]
    assert set(lines) == {1}
