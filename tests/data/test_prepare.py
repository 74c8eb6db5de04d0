"""Conversion writes what the contract's readers read, or nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.data.check import prepare
from lmtools.data.rows import read_passages, read_questions
from lmtools.data.sources import load_choices, load_instructions, load_questions, load_truthful

RECORD = {
    "_id": "a",
    "question": "Who?",
    "answer": "I",
    "type": "bridge",
    "supporting_facts": [["T", 0], ["U", 0]],
    "context": [["T", ["One.", " Two."]], ["U", ["Three."]]],
}


@pytest.fixture
def original(tmp_path):
    """Writes HotpotQA records to a file in the original format."""

    def write(*records: dict) -> str:
        path = tmp_path / "hotpot.json"
        path.write_text(json.dumps(records))
        return str(path)

    return write


def test_questions_and_corpus_of_an_original(original, tmp_path):
    source = original(RECORD, {**RECORD, "_id": "b"})
    questions = prepare(source, "questions", tmp_path / "q.jsonl")
    corpus = prepare(source, "corpus", tmp_path / "c.jsonl")
    assert (questions.format, questions.records, questions.written, questions.left_out) == (
        "hotpotqa",
        2,
        2,
        {},
    )
    assert (corpus.records, corpus.written, corpus.left_out) == (2, 2, {"repeats an earlier passage": 2})
    assert [question.supporting for question in read_questions(tmp_path / "q.jsonl")] == [("T", "U")] * 2
    assert [passage.text for passage in read_passages(tmp_path / "c.jsonl")] == ["One. Two.", "Three."]


def test_a_limit_and_a_repeated_record_are_counted(original, tmp_path):
    source = original(RECORD, RECORD, {**RECORD, "_id": "b"}, {**RECORD, "_id": "c"})
    made = prepare(source, "questions", tmp_path / "q.jsonl", limit=1)
    assert (made.records, made.written) == (4, 1)
    assert made.left_out == {"repeats an earlier record": 1, "is beyond the limit": 2}


def test_two_records_of_one_id_that_differ_are_a_fault(original, tmp_path):
    with pytest.raises(DataError, match="record 2: id: 'a' is the id of record 1 too"):
        prepare(original(RECORD, {**RECORD, "answer": "You"}), "questions", tmp_path / "q.jsonl")


def test_a_fault_beyond_the_limit_leaves_no_file_and_the_old_one_whole(original, tmp_path):
    out = tmp_path / "out" / "q.jsonl"
    source = original(RECORD, {**RECORD, "_id": 3.5})
    with pytest.raises(DataError, match="expected text, found a number"):
        prepare(source, "questions", out, limit=1)
    assert list(out.parent.glob("*")) == []
    out.write_text("old")
    with pytest.raises(DataError):
        prepare(source, "questions", out)
    assert out.read_text() == "old"
    assert list(out.parent.glob("*")) == [out]


def test_a_source_may_be_replaced_by_its_own_conversion(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "a", "question": "Who?", "mine": 1}\n' * 2)
    assert prepare(str(path), "questions", path).left_out == {"repeats an earlier record": 1}
    assert json.loads(path.read_text()) == {"id": "a", "question": "Who?"}


def test_unanswerable_questions_are_counted(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "Who?", "paragraphs": [], "answerable": False}) + "\n")
    assert prepare(str(path), "questions", tmp_path / "q.jsonl").left_out == {"is unanswerable": 1}


ORIGINALS = {
    "choices from mc_task.json": ("choices", {"question": "Why?", "mc1_targets": {"a": 1, "b": 0, "c": 0}}),
    "choices from MMLU's columns": (
        "choices",
        {"id": "x", "question": "Why?", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "C"},
    ),
    "instructions from Alpaca": ("instructions", {"instruction": "Say it.", "input": "", "output": "It."}),
    "a conversation": (
        "instructions",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    ),
    "truthful from the hub": (
        "truthful",
        {"question": "Why?", "best_answer": "a", "correct_answers": ["a", "b"], "incorrect_answers": ["c"]},
    ),
    "questions with golden answers": (
        "questions",
        {"id": "x", "question": "Who?", "golden_answers": ["a", "b"], "metadata": {"prop": "p"}},
    ),
}
LOAD = {
    "questions": load_questions,
    "choices": load_choices,
    "instructions": load_instructions,
    "truthful": load_truthful,
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_what_is_written_loads_as_the_original_does(original, tmp_path, name):
    kind, value = ORIGINALS[name]
    source = original(value)
    made = prepare(source, kind, tmp_path / "out.jsonl")
    assert (made.records, made.written) == (1, 1)
    assert LOAD[kind](str(tmp_path / "out.jsonl")) == LOAD[kind](source)


def test_a_repeated_original_without_an_id_of_its_own_is_written_once(original, tmp_path):
    _, value = ORIGINALS["choices from mc_task.json"]
    made = prepare(original(value, value), "choices", tmp_path / "out.jsonl")
    assert (made.written, made.left_out) == (1, {"repeats an earlier record": 1})


@pytest.mark.parametrize("kind", ["instructions", "choices", "truthful"])
def test_what_a_format_does_not_hold_is_said(original, tmp_path, kind):
    with pytest.raises(DataError, match=r"HotpotQA: no .* in it"):
        prepare(original(RECORD), kind, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
pages = st.lists(st.tuples(text, st.lists(text, max_size=2)), max_size=6)


@given(st.lists(pages, min_size=1, max_size=4))
def test_every_page_is_written_once_under_an_id_of_its_own(tmp_path_factory, contexts):
    folder = tmp_path_factory.mktemp("pages")
    records = [{**RECORD, "_id": f"{number}", "context": context} for number, context in enumerate(contexts)]
    (folder / "h.json").write_text(json.dumps(records))
    made = prepare(str(folder / "h.json"), "corpus", folder / "c.jsonl")
    expected = {
        (title, " ".join(filter(None, map(str.strip, sentences))))
        for pages in contexts
        for title, sentences in pages
    }
    if expected:
        found = read_passages(folder / "c.jsonl")
        assert {(passage.title, passage.text) for passage in found} == expected
        assert len(found) == made.written == len(expected)
