"""Task definitions: those that ship with lmtools, files of one's own, and what is wrong with either."""

import pytest
from quiz import answer_records, choice_records, write_lines

from lmtools.calibration.tasks import AnswersTask, ChoicesTask, load_definition, packaged_tasks
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.files import bundled

NAMES = [
    "atlas", "atlas-short", "mmlu", "mmlu-val", "nq", "popqa", "triviaqa", "truthfulqa", "truthfulqa-free",
]  # fmt: skip


def test_the_packaged_tasks():
    assert packaged_tasks() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_packaged_task_loads_and_opens_with_its_command_line(name):
    found, definition = load_definition(name)
    assert found == name
    assert definition.source
    first, second, *_ = bundled("evals", f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert first == f"# lmtools eval calibration --task {name}"
    assert second.startswith("# ")


def test_six_examples_and_64_tokens_before_a_free_answer():
    _, definition = load_definition("truthfulqa-free")
    assert isinstance(definition, AnswersTask)
    assert (len(definition.demonstrations), definition.max_tokens, definition.stop) == (6, 64, ("\n",))
    assert definition.matcher == "closest"


def test_a_near_miss_is_suggested():
    with pytest.raises(RecipeError, match=r"unknown task 'trivaqa'.*did you mean triviaqa"):
        load_definition("trivaqa")


def test_jsonl_of_either_contract_is_told_by_its_first_line(tmp_path):
    choices = write_lines(tmp_path / "my.choices.jsonl", choice_records())
    answers = write_lines(tmp_path / "short.jsonl", answer_records())
    assert load_definition(str(choices)) == ("my", ChoicesTask(source=str(choices)))
    assert load_definition(str(answers)) == ("short", AnswersTask(source=str(answers)))


@pytest.mark.parametrize("line", ["[1, 2]", '{"prompt": "Hi"}', "not json"])
def test_jsonl_of_something_else(tmp_path, line):
    path = tmp_path / "task.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"task\.jsonl"):
        load_definition(str(path))


def test_a_definition_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("kind: answers\nsource: x.jsonl\nshots: 2\nstop: ['.']\n")
    assert load_definition(str(path)) == ("mine", AnswersTask(source="x.jsonl", shots=2, stop=(".",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: choice\nsource: x\n", "kind: 'choice' is none of choices, answers"),
        ("source: x\n", "kind: None is none of"),
        ("kind: choices\nsource: x\nshot: 3\n", "mine.yaml:3: shot: unknown key; did you mean shots"),
        ("kind: choices\nsource: x\ntemplate: '{question}'\n", "template: must have {choices}, {question}"),
        ("kind: answers\nsource: x\nheader: '{subject}'\n", "header: must have no field at all"),
        ("kind: answers\nsource: x\ntemplate: '{question'\n", "template: .*brace"),
        (
            "kind: answers\nsource: x\nshots: 1\ndemonstrations: [{question: a, answer: b}]\n",
            "shots and demonstrations exclude each other",
        ),
    ],
)
def test_what_is_wrong_with_a_definition_is_said(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_definition(str(path))
