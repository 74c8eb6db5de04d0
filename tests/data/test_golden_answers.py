"""Short-answer questions: the first golden answer, the others as aliases, PopQA's relation."""

import json

import pytest

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data.check import prepare
from lmtools.data.records import Question
from lmtools.data.sources import load_questions

GOLDEN = {"id": "t1", "question": "Who?", "golden_answers": ["Mars", "Ares", "Mars", " "]}


@pytest.fixture
def write(tmp_path):
    def write(*values: dict) -> str:
        write_jsonl(tmp_path / "g.jsonl", values)
        return str(tmp_path / "g.jsonl")

    return write


def test_answers_are_kept_once_in_order(write):
    assert load_questions(write(GOLDEN)) == [
        Question(id="t1", question="Who?", answer="Mars", aliases=("Ares",))
    ]


def test_popqa_tells_the_relation(write):
    record = {**GOLDEN, "metadata": {"prop": "capital of", "s_pop": 8468}}
    assert load_questions(write(record))[0].kind == "capital of"


def test_popqas_own_table(tmp_path, write):
    (tmp_path / "p.tsv").write_text(
        "id\tquestion\tprop\tpossible_answers\n"
        + '17\tWhat is Mons the capital of?\tcapital of\t"[""Hainaut"", ""Henegouwen""]"\n'
    )
    expected = Question(
        id="17",
        question="What is Mons the capital of?",
        answer="Hainaut",
        aliases=("Henegouwen",),
        kind="capital of",
    )
    assert load_questions(str(tmp_path / "p.tsv")) == [expected]
    row = {"id": 17, "question": expected.question, "prop": "capital of"}
    assert load_questions(write({**row, "possible_answers": json.dumps(["Hainaut", "Henegouwen"])})) == [
        expected
    ]


def test_what_has_no_answer_is_left_out_and_counted(write, tmp_path):
    source = write(GOLDEN, {**GOLDEN, "id": "t2", "golden_answers": []})
    assert [question.id for question in load_questions(source)] == ["t1"]
    assert prepare(source, "questions", tmp_path / "q.jsonl").left_out == {"is unanswerable": 1}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"golden_answers": "Mars"}, "golden_answers: expected a list, found text ('Mars')"),
        ({"golden_answers": [3]}, "golden_answers[0]: expected text, found a number (3)"),
        ({"id": True}, "id: expected text, found true"),
    ],
)
def test_faults(write, change, fault):
    with pytest.raises(DataError) as caught:
        load_questions(write(GOLDEN, {**GOLDEN, "id": "b", **change}))
    assert f"g.jsonl:2: {fault}" in str(caught.value)


@pytest.mark.parametrize("name", ["triviaqa", "nq", "popqa"])
def test_the_real_files(shared_data, name):
    found = load_questions(str(shared_data / name / "questions.jsonl"))
    assert len(found) == 500
    assert all(question.answer and not question.supporting for question in found)
    assert all(question.kind for question in found) == (name == "popqa")
    if name == "triviaqa":
        assert (found[0].id, found[0].answer) == ("test_6740", "Gnocco")
        assert found[0].aliases == ("Gnocchetti", "Gnocchi", "Gnocci")
