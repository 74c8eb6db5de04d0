"""From files as Natural Questions and PopQA are published to predictions, under their packaged tasks."""

import json

import pytest
from quiz import CAPITALS, write_lines

from lmtools.cli.app import run
from lmtools.data.predictions import grouped, read_predictions

SHOTS = 5
FAST = ("--set", "resamples=100", "--set", "model.device=cpu")


def nq(number, country, town):
    golden = [town, f"{town} x"]
    return {"id": f"test_{number}", "question": f"capital of {country}", "golden_answers": golden}


def popqa(number, country, town):
    return {
        "id": number,
        "subj": country,
        "prop": "capital",
        "s_pop": 8468,
        "question": f"What is the capital of {country}?",
        "possible_answers": json.dumps([town, f"The Town of {town}"]),
    }


@pytest.fixture
def measure(tmp_path, tiny_llama, monkeypatch, capsys):
    """``measure(...)``: the predictions of a tiny model by task, on a data folder with both files."""
    for name, make in (("nq", nq), ("popqa", popqa)):
        records = [make(number, *capital) for number, capital in enumerate(CAPITALS.items())]
        write_lines(tmp_path / "data" / name / "questions.jsonl", records)
    monkeypatch.setenv("LMTOOLS_DATA", str(tmp_path / "data"))

    def call(*arguments):
        out = tmp_path / "run"
        fixed = ("eval", "calibration", "--model", tiny_llama, "--out", out, *FAST)
        assert run([str(part) for part in (*fixed, *arguments)]) == 0, capsys.readouterr().err
        found = grouped(read_predictions(out / "predictions.jsonl"))
        return {task: methods["uncalibrated"] for task, methods in found.items()}

    return call


def test_the_model_answers_what_is_not_shown(measure):
    found = measure("--task", "nq", "--task", "popqa", "--set", "limit=3")
    assert {task: len(own) for task, own in found.items()} == {"nq": 3, "popqa": 3}
    asked = {int(one.id.removeprefix("test_")) for own in found.values() for one in own}
    assert asked <= set(range(SHOTS, 10))
    assert all(0 <= one.confidence <= 1 for own in found.values() for one in own)


@pytest.mark.parametrize(
    ("task", "id", "answers"),
    [("nq", "test_5", {"Havana": True, "havana X.": True, "Cuba": False}),
     ("popqa", "5", {"Havana": True, "town of Havana": True, "Cuba": False})],
)  # fmt: skip
def test_every_golden_answer_counts(measure, tmp_path, task, id, answers):
    given = write_lines(tmp_path / "given.jsonl", [{"id": id, "answer": answer} for answer in answers])
    found = measure("--task", task, "--set", f"answers.file={given}")
    assert {one.answer: one.correct for one in found[task]} == answers
