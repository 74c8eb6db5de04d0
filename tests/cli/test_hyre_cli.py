"""``lmtools hyre``: plans, training, evaluation and adaptation."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_hyre import USERS, recipe_file, records, tiny_recipe, trained_once, write

from lmtools.cli.app import run
from lmtools.hyre import api, inputs
from lmtools.hyre import evaluate as evaluate_module


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    """The recipe as a file, and a finished run of it."""
    folder = tmp_path_factory.mktemp("hyre")
    recipe, trained = trained_once(tiny_llama, folder)
    return str(recipe_file(recipe, folder / "tiny.yaml")), trained


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(made):
    """The finished run under ``runs/``, where the commands look for it."""
    return shutil.copytree(made[1], "runs/hyre-train")


def call(capsys, *words):
    """The JSON that a command answers, which is all of its output; and what it tells a person."""
    capsys.readouterr()
    assert run(["hyre", *words, "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def stop(*_, **__):
    raise KeyboardInterrupt


def test_a_plan_shows_a_pair_and_loads_no_weights(made, capsys, monkeypatch):
    monkeypatch.setattr("lmtools.models.load.load", lambda *_, **__: pytest.fail("weights were loaded"))
    monkeypatch.setattr("lmtools.models.features.load", lambda *_, **__: pytest.fail("weights were loaded"))
    assert run(["hyre", "train", "--recipe", made[0], "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "--- chosen, " in told
    assert "The Seine, of course; its name is old.<|im_end|>" in told
    assert "12 pairs to learn from; 4 heads; ensembles: pca, shared_base" in told
    plan, _ = call(capsys, "train", "--recipe", made[0], "--dry-run")
    assert (plan["pairs"], plan["targets"], plan["heads"], plan["cut"]) == (12, {}, 4, 0)
    assert plan["example"]["tokens"]["prompt"] > 0
    assert plan["weights_gib"] is not None
    assert not plan["unchecked"]
    whole, _ = call(capsys, "eval", "--recipe", made[0], "--dry-run")
    assert whole["targets"] == dict.fromkeys(USERS, 12)
    assert whole["pairs"] == 12
    assert whole["tokens"] > plan["tokens"]
    other, _ = call(capsys, "eval", str(made[1]), "--dry-run")
    assert (other["pairs"], other["targets"]) == (0, whole["targets"])
    assert not Path("runs").exists()


def test_training_prints_its_figures_and_what_to_do_next(made, capsys):
    value, told = call(capsys, "train", "--recipe", made[0])
    assert value["run"] == "runs/hyre-train"
    assert [row["name"] for row in value["rows"]] == ["pca", "shared_base", "single head"]
    assert "lmtools hyre adapt --examples 5 --run runs/hyre-train" in told
    assert run(["hyre", "train", "--recipe", made[0], "--out", "runs/hyre-train"]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    inputs = json.loads(Path("runs/hyre-train/manifest.json").read_text())["inputs"]
    assert any(name.endswith("train.jsonl") for name in inputs)
    assert not any(name.endswith("targets.jsonl") for name in inputs)


def test_interrupted_training_is_130_and_goes_on(made, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "train_ensembles", stop)
        assert run(["hyre", "train", "--recipe", made[0]]) == 130
    assert "--resume" in capsys.readouterr().err
    value, _ = call(capsys, "train", "--recipe", made[0], "--resume")
    assert value["run"] == "runs/hyre-train"
    for part in ("ensemble", "single"):
        for name in ("ensemble.safetensors", "ensemble.json"):
            assert (Path("runs/hyre-train") / part / name).read_bytes() == (
                made[1] / part / name
            ).read_bytes()


def test_the_last_run_is_measured(trained, made, capsys):
    value, told = call(capsys, "eval")
    assert value["run"] == "runs/hyre-eval"
    names = {row["name"] for row in value["rows"]}
    assert {"hyre/pca @5", "hyre/shared_base @5", "hyre/pca (bald) @5", "single-head @0"} <= names
    assert {one["b"] for one in value["differences"] if one["a"] == "hyre/pca @5"} >= {"uniform/pca @0"}
    assert "hyre/pca @5" in told
    assert "long/accuracy" not in told
    assert "files: runs/hyre-eval/" in told
    named, _ = call(capsys, "eval", str(made[1]), "--out", "named")
    assert named["rows"] == value["rows"]


def test_killed_evaluation_is_130_and_gives_the_same_rows(trained, made, capsys, monkeypatch):
    whole, _ = call(capsys, "eval", "--out", "whole")
    real, done = evaluate_module.draws, []
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "draws", lambda *a: stop() if done else (done.append(1), real(*a))[1])
        assert run(["hyre", "eval"]) == 130
    assert [path.name for path in Path("runs/hyre-eval/measured").iterdir()] == ["long.npz"]
    value, _ = call(capsys, "eval", "--resume")
    assert value["run"] == "runs/hyre-eval"
    assert (value["rows"], value["differences"]) == (whole["rows"], whole["differences"])


def test_a_recipe_alone_is_trained_and_measured_in_one(trained, made, capsys):
    value, _ = call(capsys, "eval", "--recipe", made[0])
    assert Path("runs/hyre-eval/ensemble/ensemble.json").is_file()
    assert Path("runs/hyre-eval/single/ensemble.json").is_file()
    assert {row["name"] for row in value["rows"]} >= {"hyre/pca @5"}


@pytest.fixture
def new(tiny_llama, tmp_path, monkeypatch):
    """No run yet, and a tiny recipe in place of the default."""
    path = recipe_file(tiny_recipe(tiny_llama, tmp_path), tmp_path / "tiny.yaml")
    monkeypatch.setattr(api, "DEFAULT", str(path))


def test_without_a_run_one_is_trained_first(new, capsys):
    value, told = call(capsys, "adapt")
    assert "no trained ensemble under runs/: training one on bundled pairs first" in told
    assert {path.name for path in Path("runs").iterdir()} == {"hyre-train", "hyre-adapt"}
    assert (value["run"], value["user"], len(value["examples"])) == ("runs/hyre-adapt", "long", 5)
    assert "adapting to 'long', the first user in" in told
    again, told = call(capsys, "adapt", "--examples", "2")
    assert "training one" not in told
    assert again["run"] == "runs/hyre-adapt-2"


def test_a_plan_of_an_adaptation_trains_nothing(trained, capsys):
    plan, told = call(capsys, "adapt", "--examples", "3", "--dry-run")
    assert (plan["run"], plan["user"], plan["examples"], plan["others"]) == ("runs/hyre-train", "long", 3, 9)
    assert "3 labelled pairs, 9 to test on" in told
    assert {path.name for path in Path("runs").iterdir()} == {"hyre-train"}


def test_adapting_writes_weights_and_what_they_are_worth(trained, capsys):
    value, told = call(capsys, "adapt", "--examples", "4", "--target", "short")
    kept = json.loads(Path("runs/hyre-adapt/weights.json").read_text())
    assert kept == {name: value[name] for name in kept}
    assert len(kept["weights"]) == 4
    assert sum(kept["weights"]) == pytest.approx(1)
    assert all(id.startswith("short-") for id in kept["examples"])
    [after, before] = value["rows"]
    assert (after["name"], before["name"]) == ("hyre @4", "before @0")
    assert after["metrics"]["accuracy"]["n"] == 8
    assert after["metrics"]["accuracy"]["value"] > before["metrics"]["accuracy"]["value"]
    assert "effective heads" in told
    assert "--reward runs/hyre-train --weights runs/hyre-adapt" in told
    assert {path.name for path in Path("runs/hyre-adapt/plots").iterdir()} == {"weights.svg", "answers.svg"}
    [gain] = value["differences"]
    assert (gain["a"], gain["b"], gain["n"]) == ("hyre @4", "before @0", 8)
    assert gain["value"] == pytest.approx(after["metrics"]["accuracy"]["value"]
                                          - before["metrics"]["accuracy"]["value"])  # fmt: skip


def test_settings_seed_and_no_examples(trained, capsys):
    warm, _ = call(capsys, "adapt", "--set", "adapt.temperature=1000", "--out", "warm")
    assert warm["temperature"] == 1000
    assert warm["effective_heads"] == pytest.approx(4, abs=0.01)
    other, _ = call(capsys, "adapt", "--seed", "5", "--out", "other")
    assert set(other["examples"]) != set(warm["examples"])
    none, _ = call(capsys, "adapt", "--examples", "0", "--out", "none")
    assert none["weights"] == [0.25] * 4
    one, two = (row["metrics"]["accuracy"] for row in none["rows"])
    assert one == two


def test_pairs_that_are_there_twice_are_never_tested(trained, capsys):
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in records("short", 6)]
    write(Path("mine.jsonl"), rows * 2)
    value, _ = call(capsys, "adapt", "--examples", "4", "--pairs", "mine.jsonl")
    assert value["user"] == "mine"
    assert len(set(value["examples"])) == 4
    assert value["rows"][0]["metrics"]["accuracy"]["n"] == 2
    all_of_them, told = call(capsys, "adapt", "--examples", "6", "--pairs", "mine.jsonl")
    assert all_of_them["rows"] == []
    assert "no pair is left to test on" in told
