"""TruthfulQA: choices in an order of their own, true and false free-form answers, one id in both files."""

import csv
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.data.readers.truthfulqa import AnswerRecord, ChoiceRecord, answers, choices
from lmtools.data.records import TruthfulQuestion
from lmtools.data.sources import load_choices, load_questions, load_truthful

COLUMNS = ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source"]
CELLS = [
    "Adversarial",
    "Myths",
    "Why?",
    "So it is",
    "It is; So it is; It is",
    "It is not; Never;",
    "http://x",
]


@pytest.fixture
def table(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, CELLS])
    return str(tmp_path / "t.csv")


def test_a_row_of_the_table(table):
    expected = TruthfulQuestion(
        id="truthfulqa-5d8a995a6fa7",
        question="Why?",
        answer="So it is",
        aliases=("It is",),
        incorrect=("It is not", "Never"),
        kind="Myths",
    )
    assert load_truthful(table) == [expected]
    assert load_questions(table) == [expected]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=6)


@given(texts, st.lists(texts, min_size=2, max_size=8, unique=True), st.data())
def test_the_right_choice_stays_right_and_the_order_is_not_the_files(question, texts, data):
    right = data.draw(st.integers(0, len(texts) - 1))
    marked = {text: int(place == right) for place, text in enumerate(texts)}
    (found,) = choices(ChoiceRecord(question=question, mc1_targets=marked))
    assert sorted(found.choices) == sorted(texts)
    assert found.choices[found.answer] == texts[right]
    again = dict(data.draw(st.permutations(list(marked.items()))))
    assert list(choices(ChoiceRecord(question=question, mc1_targets=again))) == [found]


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [2, 0]])
def test_not_exactly_one_right_choice_is_a_fault(tmp_path, labels):
    record = {"question": "Why?", "mc1_targets": dict(zip("ab", labels, strict=True))}
    (tmp_path / "m.json").write_text(json.dumps([record]))
    with pytest.raises(DataError, match=r"m\.json:record 1: mc1_targets: the choices are marked") as caught:
        load_choices(str(tmp_path / "m.json"))
    assert caught.value.fix == "mark one choice with 1 and the others with 0"


def test_a_question_twice_is_a_fault(tmp_path):
    record = {"question": "Why?", "mc1_targets": {"a": 1, "b": 0}}
    (tmp_path / "m.json").write_text(json.dumps([record, record]))
    with pytest.raises(DataError, match="record 2: id: 'truthfulqa-5d8a995a6fa7' is the id of record 1 too"):
        load_choices(str(tmp_path / "m.json"))


def test_the_hubs_shapes():
    hub = {"question": "Why?", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}}
    here = {"question": "Why?", "mc1_targets": {"a": 1, "b": 0}}
    assert ChoiceRecord.model_validate(hub) == ChoiceRecord.model_validate(here)
    row = {"question": "Why?", "best_answer": "x", "correct_answers": ["x", "y"], "incorrect_answers": ["z"]}
    (found,) = answers(AnswerRecord.model_validate(row))
    assert (found.answer, found.aliases, found.incorrect) == ("x", ("y",), ("z",))


def test_the_real_files(shared_data):
    asked = load_choices(str(shared_data / "truthfulqa" / "mc_task.json"))
    free = load_truthful(str(shared_data / "truthfulqa" / "TruthfulQA.csv"))
    assert len(asked) == len(free) == 390
    assert {question.id for question in asked} == {question.id for question in free}
    places = Counter(question.answer for question in asked)
    assert places[0] < 130
    assert places[1] > 60
    malala = next(q for q in asked if q.question.startswith("Who was really behind the murder attempt"))
    assert malala.choices[malala.answer] == "The Taliban was behind the murder attempt on Malala Yousafzai"
    assert len(malala.choices) == 5
    veins = next(q for q in free if q.question == "Why do veins appear blue?")
    assert veins.answer.startswith("Veins appear blue because blue light does not penetrate deeply")
    assert (len(veins.aliases), len(veins.incorrect), veins.kind) == (4, 4, "Misconceptions")
