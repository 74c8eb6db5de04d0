"""``lmtools eval calibration --head RUN``: every method of a fitted run, on its own model or none."""

import json

import pytest
from quiz import answer_records, choice_records, write_lines
from small_run import NAMES, write_run
from tiny import save_tiny_llama

from lmtools.cli.app import run
from lmtools.data.predictions import grouped, read_predictions
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

FAST = ("--set", "resamples=100", "--set", "chat=true", "--set", "model.device=cpu")
RAW = "scalar (NLL)"
"""A method that cannot change an answer."""


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def fitted(tmp_path, tiny_llama):
    return write_run(tmp_path / "fitted", load(ModelSpec(name=str(tiny_llama), device="cpu")))


@pytest.fixture
def tasks(tmp_path):
    return [
        f"--task={write_lines(tmp_path / 'towns.jsonl', choice_records())}",
        f"--task={write_lines(tmp_path / 'short.jsonl', answer_records(4))}",
    ]


def test_every_method_is_a_row_and_the_model_answers_once(shell, tmp_path, fitted, tiny_llama, tasks):
    options = ("--head", fitted, "--model", tiny_llama, *tasks, *FAST)
    code, out, err = shell("eval", "calibration", *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert tuple(row["name"] for row in found["rows"]) == NAMES
    assert "uncalibrated" in {d["b"] for d in found["differences"]}
    assert {d["a"] for d in found["differences"] if d["b"] != "uncalibrated"} == {"transformer"}
    methods = grouped(read_predictions(tmp_path / found["run"] / "predictions.jsonl"))["short"]
    assert len({tuple(one.answer for one in own) for own in methods.values()}) == 1
    assert len({tuple(one.confidence for one in own) for own in methods.values()}) > 4
    choices = grouped(read_predictions(tmp_path / found["run"] / "predictions.jsonl"))["towns"]
    for name in ("transformer", RAW, "isotonic"):
        ours = [one.answer for one in choices[name]]
        assert ours == [one.answer for one in choices["uncalibrated"]]
    manifest = json.loads((tmp_path / found["run"] / "manifest.json").read_text())
    assert f"{fitted}/head" in manifest["inputs"]


def test_rows_can_be_chosen(shell, fitted, tiny_llama, tasks):
    chosen = ("--set", f"methods=[uncalibrated, {RAW}]", "--set", f"compare=[{RAW}]")
    code, out, err = shell(
        "eval", "calibration", "--head", fitted, "--model", tiny_llama, *tasks, *FAST, *chosen, "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert [row["name"] for row in found["rows"]] == ["uncalibrated", RAW]
    assert {(d["a"], d["b"]) for d in found["differences"]} == {("uncalibrated", RAW)}


def test_a_heads_own_directory_stands_for_that_head_alone(shell, fitted, tiny_llama, tasks):
    options = ("--head", fitted / "head", "--model", tiny_llama, *tasks, *FAST)
    code, out, err = shell("eval", "calibration", *options, "--json")
    assert code == 0, err
    assert [row["name"] for row in json.loads(out)["rows"]] == ["uncalibrated", "transformer"]
    code, _, err = shell("eval", "calibration", "--head", fitted / "heads", *tasks)
    assert code == 2
    assert "heads: holds no fitted head" in err


def test_a_head_for_another_model(shell, tmp_path, fitted, tasks):
    other = save_tiny_llama(tmp_path / "other", seed=1)
    code, _, err = shell("eval", "calibration", "--head", fitted, "--model", other, *tasks, *FAST)
    assert code == 2
    assert "Traceback" not in err
    assert "error: " in err
    assert "model" in err.partition("error: ")[2]


def test_a_head_brings_its_own_model(shell, fitted, tiny_llama, tasks):
    (fitted / "recipe.yaml").write_text(f"system: ats\nmodel: {{name: '{tiny_llama}', device: cpu}}\n")
    code, _, err = shell("eval", "calibration", "--head", fitted, *tasks, *FAST)
    assert code == 0, err
