"""`lmtools leret train`: cards, `--merge` and `--push-to-hub`, of new runs and of finished ones."""

import contextlib
import io
import json
import re
import shutil

import pytest
import torch
import yaml
from fake_hub import fake_hub
from small_world import write_recipe

from lmtools.cli.app import run
from lmtools.leret import api
from lmtools.leret.inputs import policy_hash
from lmtools.leret.prompts import ZERO_SHOT, query_messages
from lmtools.models.chat import render
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

QUICK = {"eval.policies": ["question", "sft", "trained"], "train.sft.epochs": 4}


@pytest.fixture(scope="module")
def finished(tiny_llama, tmp_path_factory):
    """A finished run without any of the options, and its recipe."""
    folder = tmp_path_factory.mktemp("policy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        recipe = write_recipe(folder / "world", tiny_llama, QUICK)
        assert run(["leret", "train", "--recipe", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run", recipe


@pytest.fixture
def again(finished, tmp_path, monkeypatch):
    """A copy of it under `runs/`, where commands find it, and the command that goes on with it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished[0], tmp_path / "runs" / "leret-train")
    return tmp_path / "runs" / "leret-train", ["leret", "train", "--recipe", str(finished[1]), "--resume"]


def untrained(*args, **kwargs):
    raise AssertionError("something is trained again")


def python_of(card):
    [block] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return block


def test_the_card_of_a_policy(finished):
    directory, _ = finished
    card = (directory / "policy" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["library_name"], head["pipeline_tag"]) == ("peft", "text-generation")
    results = json.loads((directory / "metrics.json").read_text())
    last = results["rows"][-1]
    assert last["name"] == "SFT + preference"
    figure = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**last["metrics"]["recall@hop1"])
    assert f"| SFT + preference | {figure} |" in card
    assert "The row `SFT + preference` is this policy" in card
    for name, digest in json.loads((directory / "manifest.json").read_text())["inputs"].items():
        assert digest in card
        assert "/" not in name or name not in card
    assert str(directory.parent) not in card


@pytest.mark.parametrize("folder", ["policy", "merged"])
def test_the_code_on_the_card_asks_as_the_policy_is_trained_to_be_asked(again, tiny_llama, folder):
    directory, command = again
    assert run([*command, "--merge"]) == 0
    code = python_of((directory / folder / "README.md").read_text())
    code = code.replace('"BASE"', repr(str(tiny_llama))).replace('"DIR"', repr(str(directory / folder)))
    names, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, names)
    question = "In which country was the painter of The Night Watch born?"
    assert names["prompt"] == render(names["tokenizer"], query_messages(ZERO_SHOT, question, ()))
    assert out.getvalue().strip("\n")


def test_merging_a_finished_run_trains_nothing_and_says_the_same(again, tiny_llama, monkeypatch):
    directory, command = again
    monkeypatch.setattr("lmtools.leret.api.train_policy", untrained)
    before = policy_hash(directory)
    assert run([*command, "--merge"]) == 0  # without --out: the last run
    assert [path.name for path in (directory.parent).iterdir()] == ["leret-train"]
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        expected, found = (
            load(spec).model(ids).logits
            for spec in (
                ModelSpec(name=str(tiny_llama), adapter=str(directory / "policy"), device="cpu"),
                ModelSpec(name=str(directory / "merged"), device="cpu"),
            )
        )
    assert (expected - found).abs().max() < 1e-4
    card = (directory / "merged" / "README.md").read_text()
    assert "vllm serve DIR" in card
    assert "library_name: transformers" in card
    assert policy_hash(directory) == before
    # what is there is not made again, and a card that was changed stays
    written = (directory / "merged" / "model.safetensors").stat().st_mtime_ns
    (directory / "merged" / "README.md").write_text("mine")
    assert run([*command, "--merge", "--out", str(directory)]) == 0
    assert (directory / "merged" / "model.safetensors").stat().st_mtime_ns == written
    assert (directory / "merged" / "README.md").read_text() == "mine"


def test_a_whole_model_is_not_copied(tiny_llama, tmp_path, capsys):
    changes = {"train.full": True, "train.preference.enabled": False, "eval.policies": ["question"]}
    recipe = write_recipe(tmp_path / "world", tiny_llama, changes)
    out = tmp_path / "run"
    assert run(["leret", "train", "--recipe", str(recipe), "--out", str(out), "--merge"]) == 0
    assert "whole model already" in capsys.readouterr().err
    assert not (out / "merged").exists()
    card = (out / "policy" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "PeftModel" not in card


@pytest.mark.parametrize(("options", "library"), [([], "peft"), (["--merge"], "transformers")])
def test_pushing_a_finished_run(again, tiny_llama, monkeypatch, capsys, options, library):
    directory, command = again
    monkeypatch.setattr("lmtools.leret.api.train_policy", untrained)
    with fake_hub(monkeypatch) as hub:
        assert run([*command, *options, "--push-to-hub", "writer", "--json"]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["pushed"].endswith("/anna/writer")
    assert (f"note: adapter_config.json names {tiny_llama}" in printed.err) == (library == "peft")
    assert answer["rows"]
    assert hub.created["anna/writer"]["visibility"] == "private"
    sent = hub.files["anna/writer"]
    folder = directory / ("merged" if options else "policy")
    assert sent == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert f"library_name: {library}".encode() in sent["README.md"]


def test_a_refusal_leaves_the_run_finished_and_one_json_object(again, monkeypatch, capsys):
    directory, command = again
    with fake_hub(monkeypatch) as hub:
        hub.refusal = 403, "no rights"
        assert run([*command, "--push-to-hub", "team/writer", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert "refuses team/writer: no rights" in error["error"]
    assert "--resume" in error["fix"]
    assert json.loads((directory / "manifest.json").read_text())["finished"]


def test_nothing_is_begun_where_nothing_could_be_pushed(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(api, "open_run", untrained)
    assert run(["leret", "train", "--recipe", str(finished[1]), "--push-to-hub", "writer"]) == 2
    assert "there is no token" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
