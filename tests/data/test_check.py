"""What `check` says of a source that is right, nearly right, and wrong."""

import json

import pytest

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data.check import check


@pytest.fixture
def write(tmp_path):
    def write(name: str, *values: dict) -> str:
        path = tmp_path / name
        write_jsonl(path, values)
        return str(path)

    return write


QUESTION = {"id": "a", "question": "Who?", "supporting": ["T"]}
PASSAGE = {"id": "1", "title": "T", "text": "x"}


def test_questions(write):
    found = check(write("q.jsonl", QUESTION))
    assert (found.format, found.records, found.questions, found.passages, found.remarks) == (
        "questions",
        1,
        1,
        0,
        (),
    )


def test_a_corpus(write):
    found = check(write("c.jsonl", PASSAGE, {**PASSAGE, "id": "2", "text": " "}))
    assert (found.format, found.passages) == ("corpus", 2)
    assert found.remarks == (
        "1 passages whose title another passage has too: either counts as found",
        "1 passages without text",
    )


def test_an_original_holds_both(write):
    value = {
        "_id": "a", "question": "Who?", "supporting_facts": [["T", 0]],
        "context": [["T", ["x"]], ["U", ["y"]]],
    }  # fmt: skip
    found = check(write("h.jsonl", value, {**value, "_id": "b"}))
    assert (found.format, found.records, found.questions, found.passages) == ("hotpotqa", 2, 2, 2)


def test_an_optional_field_that_is_misspelt_is_remarked(write):
    found = check(write("q.jsonl", {"id": "a", "question": "Who?", "suporting": ["T"]}))
    assert "`suporting` is ignored; is `supporting` meant?" in found.remarks
    assert "1 questions without gold titles: they teach and measure no retrieval" in found.remarks


def test_fields_of_the_users_own_are_not_remarked(write):
    assert check(write("q.jsonl", {**QUESTION, "difficulty": 3})).remarks == ()


def test_gold_titles_are_looked_up_in_the_corpus(write):
    corpus = write("c.jsonl", PASSAGE)
    assert check(write("q.jsonl", QUESTION), corpus=corpus).questions == 1
    with pytest.raises(DataError, match="gold title 'Z' is not in the corpus"):
        check(write("q.jsonl", {**QUESTION, "supporting": ["Z"]}), corpus=corpus)
    with pytest.raises(DataError, match="no questions to compare"):
        check(corpus, corpus=corpus)


def test_what_has_no_word_to_search_by_is_remarked_or_a_fault(write):
    mute, other = {**PASSAGE, "id": "2", "title": "?", "text": "!"}, {**QUESTION, "id": "b", "question": "??"}
    checked = check(
        write("q.jsonl", QUESTION, other), corpus=write("c.jsonl", PASSAGE, mute, PASSAGE | {"id": "3"})
    )
    assert checked.remarks == (
        "1 of 2 questions (50.0%) have no word to search by: BM25 finds nothing for them",
        "1 of 3 passages (33.3%) have no word to search by: BM25 never finds them",
    )
    with pytest.raises(DataError, match=r"q\.jsonl: none of 1 questions has a word to search by"):
        check(write("q.jsonl", other), corpus=write("c.jsonl", PASSAGE))
    with pytest.raises(DataError, match=r"c\.jsonl: none of 1 passages has a word"):
        check(write("q.jsonl", {**QUESTION, "supporting": ["?"]}), corpus=write("c.jsonl", mute))


def test_an_empty_corpus_is_a_fault(write):
    with pytest.raises(DataError, match="empty"):
        check(write("q.jsonl", QUESTION), corpus=write("c.jsonl"))


CHOICE = {"id": "a", "question": "Which?", "choices": ["x", "y"], "answer": 0}


def test_choices_and_what_is_odd_about_them(write):
    found = check(write("m.jsonl", CHOICE, {**CHOICE, "id": "b", "choices": ["x", "x"]}))
    assert (found.format, found.choices, found.questions) == ("choices", 2, 0)
    assert found.remarks == (
        "1 questions with the same choice twice",
        "2 questions, and the right choice always stands in the same place",
    )


def test_a_wrong_answer_index_names_file_line_field_and_mend(write):
    with pytest.raises(DataError, match=r"m\.jsonl:2: answer: there is no choice 2 among 2") as caught:
        check(write("m.jsonl", CHOICE, {**CHOICE, "id": "b", "answer": 2}))
    assert caught.value.fix == "write the place of the right choice, 0 to 1"


def test_instructions_and_what_is_left_out_of_them(write):
    source = write("a.jsonl", *({"instruction": "Say it.", "output": output} for output in ("It.", "", " ")))
    found = check(source)
    assert (found.format, found.records, found.instructions) == ("alpaca", 3, 1)
    assert found.remarks == ("2 left out: each has no output",)
    assert found.counts() == ["1 instructions"]


def test_truthful_questions_are_questions_too(write):
    found = check(write("t.jsonl", {"id": "a", "question": "Why?", "answer": "So.", "incorrect": ["No."]}))
    assert (found.format, found.questions, found.truthful) == ("truthful", 1, 1)


def test_a_column_under_its_original_name_is_not_taken_for_a_misspelling(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Category,Question,Best Answer,Correct Answers,Incorrect Answers\nMyth,Why?,So,So,No\n")
    assert not [remark for remark in check(str(path)).remarks if "meant" in remark]


def test_the_nearest_format_says_what_is_missing(write):
    with pytest.raises(DataError, match="title: missing, but there is `titel`"):
        check(write("c.jsonl", {"id": "1", "titel": "T", "text": "x"}))


def test_a_format_that_is_not_known_lists_those_that_are(write):
    with pytest.raises(DataError, match="no known format has the fields `foo`, `bar`") as caught:
        check(write("x.jsonl", {"foo": 1, "bar": 2}))
    assert "musique (paragraphs, question)" in caught.value.fix


def test_a_first_line_that_is_broken_does_not_hide_the_format(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": \n' + json.dumps({"id": "1", "title": "T"}) + "\n" + json.dumps(PASSAGE) + "\n")
    with pytest.raises(DataError) as caught:
        check(str(path))
    assert "c.jsonl:1: broken JSON" in str(caught.value)
    assert "c.jsonl:2: text: missing" in str(caught.value)


def test_a_file_without_a_readable_line(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("{\x00\n3\n")
    with pytest.raises(DataError, match="2 faults"):
        check(str(path))
