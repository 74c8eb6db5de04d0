"""``--lm-eval-out``: every command that measures writes a results file; calibration its samples too."""

import json

import pytest
from quiz import answer_records, choice_records, write_lines
from tiny_hyre import recipe_file, trained_once

from lmtools.cli.app import run
from lmtools.data.predictions import read_predictions


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def hyre(tiny_llama, tmp_path_factory):
    """A recipe as a file, and a trained run."""
    folder = tmp_path_factory.mktemp("hyre")
    recipe, trained = trained_once(tiny_llama, folder)
    return recipe_file(recipe, folder / "recipe.yaml"), trained


def written(folder, model):
    [place] = folder.iterdir()
    assert place.name == str(model).replace("/", "__").replace("____", "__")
    [path] = place.glob("results_*.json")
    return json.loads(path.read_text()), place


def test_calibration_with_its_samples(tiny_llama, tmp_path, capsys):
    towns = write_lines(tmp_path / "towns.jsonl", choice_records())
    short = write_lines(tmp_path / "short.jsonl", answer_records())
    words = ["--task", towns, "--task", short, "--model", tiny_llama, "--set", "resamples=100"]
    words += ["--set", "model.device=cpu", "--set", "chat=true", "--lm-eval-out", tmp_path / "harness"]
    assert run(["eval", "calibration", *map(str, words)]) == 0
    assert "wrote " in capsys.readouterr().err
    found, place = written(tmp_path / "harness", tiny_llama)
    assert found["results"].keys() == {"towns", "short"}
    predictions = read_predictions(tmp_path / "runs" / "eval-calibration" / "predictions.jsonl")
    own = [one for one in predictions if one.task == "towns"]
    [path] = place.glob("samples_towns_*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["doc"]["id"], one["resps"], one["confidence"], one["acc"]) for one in samples] == [
        (one.id, [[one.answer]], one.confidence, float(one.correct)) for one in own
    ]
    assert found["results"]["towns"]["acc,none"] == pytest.approx(
        sum(s["acc"] for s in samples) / len(samples)
    )
    for sample in samples:
        assert sample["filter"] == "none"
        assert sample["metrics"] == ["acc", "confidence"]
        assert sample["doc"]["question"] in sample["arguments"]["gen_args_0"]["arg_0"]
        assert (sample["target"] == sample["filtered_resps"][0]) == bool(sample["acc"])
    assert set(found["task_hashes"]) == {"towns", "short"}


def test_a_reward_model(hyre, tmp_path):
    _, trained = hyre
    pairs = trained.parent / "targets.jsonl"
    words = ["--run", trained, "--pairs", pairs, "--set", "resamples=100", "--lm-eval-out", "harness"]
    assert run(["eval", "reward", *map(str, words)]) == 0
    recipe = json.loads(json.dumps(written(tmp_path / "harness", _model(trained))[0]))
    assert recipe["group_subtasks"]["reward"] == ["pairs", "long", "short"]
    assert "acc,none" in recipe["results"]["reward"]


def test_an_ensemble(hyre, tmp_path):
    _, trained = hyre
    assert run(["hyre", "eval", str(trained), "--lm-eval-out", "harness"]) == 0
    found, _ = written(tmp_path / "harness", _model(trained))
    assert {"hyre", "long", "short"} <= found["results"].keys()
    assert {"acc,hyre/pca @5", "acc,single-head @0"} <= found["results"]["hyre"].keys()


def _model(trained):
    from lmtools.hyre.reward import trained_recipe

    return trained_recipe(trained).model.name
