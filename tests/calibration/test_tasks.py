"""From definitions to questions with their prompts: formats, demonstrations, limits, and bad files."""

import json
from collections import Counter

import pytest
from quiz import answer_records, choice_records, write_lines

from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.tasks import AnswersTask, ChoicesTask, build_task, read_tasks
from lmtools.core.errors import DataError, RecipeError

ABOUT = "The following are multiple choice questions (with answers) about {subject}."


@pytest.fixture
def choices(tmp_path):
    return str(write_lines(tmp_path / "choices.jsonl", choice_records()))


@pytest.fixture
def answers(tmp_path):
    return str(write_lines(tmp_path / "answers.jsonl", answer_records()))


def test_multiple_choice_prompt(choices):
    task = build_task("t", ChoicesTask(source=choices, header=ABOUT, shots=1), None, seed=0)
    assert len(task.items) == 9  # the demonstration is not asked
    item = task.items[0]
    assert item.id == "c1"
    assert item.prompt.text() == (
        "The following are multiple choice questions (with answers) about north.\n\n"
        "What is the capital of France?\nA. Paris\nB. Tokyo\nC. Lima\nD. Nairobi\nAnswer: A\n\n"
        "What is the capital of Japan?\nA. Lima\nB. Tokyo\nC. Nairobi\nD. Oslo\nAnswer:"
    )
    assert item.choices[item.answer] == "Tokyo"


def test_short_answer_prompt(answers):
    task = build_task("t", AnswersTask(source=answers, shots=2), None, seed=0)
    assert [item.id for item in task.items] == [f"a{n}" for n in range(2, 10)]
    assert task.items[0].prompt.text() == (
        "Question: Capital of France?\nAnswer: Paris\n\nQuestion: Capital of Japan?\nAnswer: Tokyo\n\n"
        "Question: Capital of Peru?\nAnswer:"
    )
    assert task.items[0].accepted == ("Lima", "LIMA")
    assert task.is_right(task.items[0], "lima.")
    assert not task.is_right(task.items[0], "Cuzco")


def test_demonstrations_of_the_questions_own_subject(choices, tmp_path):
    others = [{**record, "id": f"d{n}"} for n, record in enumerate(choice_records())]
    source = str(write_lines(tmp_path / "dev.jsonl", others))
    task = build_task("t", ChoicesTask(source=choices, demonstrations=source, shots=2), None, seed=0)
    assert len(task.items) == 10
    first = [[asked.split("\n")[0] for asked, _ in item.prompt.shots] for item in task.items[:2]]
    assert first == [  # south, north: the first of each
        ["What is the capital of France?", "What is the capital of Peru?"],
        ["What is the capital of Japan?", "What is the capital of Kenya?"],
    ]


def test_demonstrations_are_read_in_the_format_of_the_questions(tmp_path):
    both = [{**record, **dict.fromkeys("ABCD", "?")} for record in choice_records()]  # fields of MMLU too
    source, shown = (str(write_lines(tmp_path / name, both)) for name in ("test.jsonl", "dev.jsonl"))
    named = ChoicesTask(source=source, format="choices", demonstrations=shown, shots=1)
    [(asked, letter)] = build_task("t", named, None, seed=0).items[0].prompt.shots
    assert "A. Paris" in asked
    assert letter == "A"
    with pytest.raises(DataError, match=r"test.jsonl:1: answer"):
        build_task("t", named.model_copy(update={"format": "auto"}), None, seed=0)


def test_a_subject_without_enough_demonstrations(choices, tmp_path):
    source = str(write_lines(tmp_path / "dev.jsonl", choice_records(3)))
    with pytest.raises(DataError, match="1 demonstrations of 'north', where shots is 2"):
        build_task("t", ChoicesTask(source=choices, demonstrations=source, shots=2), None, seed=0)


def test_limits_are_even_over_subjects(choices):
    recipe = CalibrationRecipe(tasks=[{"name": choices, "limit": 4}], limit=9)
    [task] = read_tasks(recipe)
    subjects = Counter(int(item.id[1:]) % 2 for item in task.items)
    assert subjects == {0: 2, 1: 2}
    [task] = read_tasks(recipe.model_copy(update={"tasks": CalibrationRecipe(tasks=[choices]).tasks}))
    assert len(task.items) == 9


def test_two_tasks_of_one_name(choices, tmp_path):
    other = write_lines(tmp_path / "elsewhere" / "choices.jsonl", choice_records())
    with pytest.raises(RecipeError, match="two go by the name 'choices'"):
        read_tasks(CalibrationRecipe(tasks=[choices, str(other)]))


def test_one_question_can_be_asked_but_not_shown_too(tmp_path):
    source = str(write_lines(tmp_path / "one.jsonl", answer_records(1)))
    assert len(build_task("t", AnswersTask(source=source), None, seed=0).items) == 1
    with pytest.raises(DataError, match="1 questions, of which 1 are shown: none is left"):
        build_task("t", AnswersTask(source=source, shots=1), None, seed=0)


def test_a_wrong_answer_index_names_line_and_field(tmp_path):
    records = choice_records()
    records[2]["answer"] = 4
    path = write_lines(tmp_path / "bad.jsonl", records)
    with pytest.raises(DataError, match=r"bad.jsonl:3: answer: there is no choice 4 among 4"):
        read_tasks(CalibrationRecipe(tasks=[str(path)]))


def test_questions_without_an_answer(tmp_path):
    records = answer_records()
    records[1] |= {"answer": "", "aliases": []}
    path = write_lines(tmp_path / "bare.jsonl", records)
    with pytest.raises(DataError, match="1 questions have no answer: 'a1'"):
        read_tasks(CalibrationRecipe(tasks=[str(path)]))


def test_more_choices_than_letters(tmp_path):
    record = {"id": "x", "question": "Which?", "choices": [str(n) for n in range(27)], "answer": 26}
    path = write_lines(tmp_path / "many.jsonl", [record])
    with pytest.raises(DataError, match="'x' has 27 choices, and there are 26 letters"):
        read_tasks(CalibrationRecipe(tasks=[str(path)]))


def test_mmlu_prompts_as_the_harness_writes_them(shared_data, monkeypatch):
    monkeypatch.setenv("LMTOOLS_DATA", str(shared_data))
    [task] = read_tasks(CalibrationRecipe(tasks=[{"name": "mmlu", "limit": 80}]))
    assert len(task.items) == 80
    assert max(Counter(item.id.rpartition("-test-")[0] for item in task.items).values()) == 2
    item = next(item for item in task.items if item.id.startswith("global_facts"))
    text = item.prompt.text()
    assert text.startswith(
        "The following are multiple choice questions (with answers) about global facts.\n\n"
    )
    assert text.count("\nAnswer: ") == 5
    assert text.endswith(f"\nD. {item.choices[3]}\nAnswer:")


def test_triviaqa_shows_five_and_asks_the_others(shared_data, monkeypatch):
    monkeypatch.setenv("LMTOOLS_DATA", str(shared_data))
    [task] = read_tasks(CalibrationRecipe(tasks=["triviaqa"]))
    lines = (shared_data / "triviaqa" / "questions.jsonl").read_text().splitlines()
    assert len(task.items) == len(lines) - 5
    shown = [json.loads(line)["question"] for line in lines[:5]]
    assert [asked for asked, _ in task.items[0].prompt.shots] == [f"Question: {q}\nAnswer:" for q in shown]
    assert task.items[0].prompt.shots[1][1] == "Mars"


def test_truthfulqa_both_ways(shared_data, monkeypatch):
    monkeypatch.setenv("LMTOOLS_DATA", str(shared_data))
    choice, free = read_tasks(CalibrationRecipe(tasks=["truthfulqa", "truthfulqa-free"]))
    assert len(choice.items) == len(free.items) == 390
    assert len({item.answer for item in choice.items}) > 3  # not always the first
    assert all(item.rejected for item in free.items)
    assert len(free.items[0].prompt.shots) == 6
