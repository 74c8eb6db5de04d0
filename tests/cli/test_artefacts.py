"""Cards and uploads of ensembles, heads and exported models."""

import json
import re
import shlex
import shutil

import pytest
import tiny_fit
import tiny_hyre
import yaml
from fake_hub import fake_hub

from lmtools.ats.api import fit_hashes
from lmtools.cli.app import run
from lmtools.core.recipe import dump_recipe
from lmtools.hyre.ensemble import ensemble_digest


def front(path):
    return yaml.safe_load(path.read_text().split("---\n")[1])


def commands(card):
    [block] = re.findall(r"## Use\n.*?```bash\n(.*?)```", card, re.DOTALL)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


@pytest.fixture(scope="module")
def ensemble(tiny_llama, tmp_path_factory):
    """A run of `lmtools hyre train` with a tuned backbone, and its recipe."""
    folder = tmp_path_factory.mktemp("ensemble")
    recipe = tiny_hyre.tiny_recipe(tiny_llama, folder, lora={"rank": 2, "epochs": 1})
    file = tiny_hyre.recipe_file(recipe, folder / "recipe.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        assert run(["hyre", "train", "--recipe", str(file), "--out", str(folder / "run")]) == 0
    return folder / "run", file


def test_the_card_of_an_ensemble_leaves_it_what_it_was(ensemble):
    directory, _ = ensemble
    path = directory / "ensemble" / "README.md"
    card, digest = path.read_text(), ensemble_digest(directory / "ensemble")
    assert front(path)["library_name"] == "lmtools"
    assert "4 of `pca`" in card
    assert "train-accuracy" in card
    assert str(directory.parent) not in card
    path.unlink()
    assert ensemble_digest(directory / "ensemble") == digest


def test_a_published_ensemble_is_adapted_by_the_command_on_its_card(
    ensemble, tiny_llama, tmp_path, monkeypatch, capsys
):
    directory, recipe = ensemble
    monkeypatch.chdir(tmp_path)
    with fake_hub(monkeypatch) as hub:
        command = ["hyre", "train", "--recipe", str(recipe), "--resume", "--out", str(directory)]
        assert run([*command, "--push-to-hub", "anna/crowd"]) == 0
    for name, content in hub.files["anna/crowd"].items():
        (tmp_path / "RUN" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "RUN" / name).write_bytes(content)
    assert {path.name for path in (tmp_path / "RUN").iterdir()} == {
        "README.md", "recipe.yaml", "ensemble", "single", "adapter",
    }  # fmt: skip
    assert [name for name in hub.files["anna/crowd"] if name.endswith("README.md")] == [
        "README.md",
        "ensemble/README.md",
    ]
    noted = capsys.readouterr().err
    assert f"note: recipe.yaml names {tiny_llama}" in noted
    assert f"note: adapter_config.json names {tiny_llama}" in noted
    told = yaml.safe_load((tmp_path / "RUN" / "recipe.yaml").read_text())
    assert told["data"]["train"] == "train.jsonl"
    tiny_hyre.write(tmp_path / "mine.jsonl", tiny_hyre.records("short"))
    tiny_hyre.write(tmp_path / "answers.jsonl", [{"prompt": "Name a river", "completion": "Seine"}])
    card = (tmp_path / "RUN" / "README.md").read_text()
    for words in commands(card)[:2]:
        assert run(words[1:]) == 0
    assert (tmp_path / "mine" / "weights.json").is_file()


@pytest.fixture(scope="module")
def fitted(tiny_llama, tmp_path_factory):
    """A run of `lmtools ats fit`, and its recipe."""
    folder = tmp_path_factory.mktemp("fitted")
    recipe = tiny_fit.tiny_recipe(tiny_llama, folder, head={"kind": "linear"})
    file = folder / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        assert run(["ats", "fit", "--recipe", str(file), "--out", str(folder / "run")]) == 0
    return folder / "run", file


def test_the_card_of_a_head_is_no_part_of_its_identity(fitted):
    directory, _ = fitted
    path = directory / "head" / "README.md"
    card, hashes = path.read_text(), fit_hashes(directory)
    assert front(path)["tags"] == ["lmtools", "ats", "calibration", "temperature-scaling"]
    assert "| uncalibrated |" in card
    assert "token-ece" in card
    assert "(paired, n =" in card
    assert str(directory.parent) not in card
    text = path.read_text()
    path.write_text("mine")
    assert fit_hashes(directory) == hashes
    path.write_text(text)


def test_a_published_head_calibrates_by_the_command_on_its_card(fitted, tiny_llama, tmp_path, monkeypatch):
    directory, recipe = fitted
    monkeypatch.chdir(tmp_path)
    with fake_hub(monkeypatch) as hub:
        command = ["ats", "fit", "--recipe", str(recipe), "--resume", "--out", str(directory)]
        assert run([*command, "--push-to-hub", "anna/head", "--public"]) == 0
    assert hub.created["anna/head"]["visibility"] == "public"
    sent = hub.files["anna/head"]
    assert set(sent) == {"README.md", "head.json", "head.safetensors"}
    for name, content in sent.items():
        (tmp_path / "DIR" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "DIR" / name).write_bytes(content)
    words = commands(sent["README.md"].decode())[0]
    words = [str(tiny_llama) if word == "BASE" else word for word in words]
    assert run([*words[1:], "--max-tokens", "3"]) == 0


def test_the_card_of_an_exported_model(fitted, tmp_path, monkeypatch, capsys):
    directory, _ = fitted
    shutil.copytree(directory, tmp_path / "run")
    with fake_hub(monkeypatch) as hub:
        assert run(["ats", "export", str(tmp_path / "run"), "--push-to-hub", "honest", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["pushed"].endswith("/anna/honest")
    folder = tmp_path / "run" / "vllm"
    assert hub.files["anna/honest"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    card = (folder / "README.md").read_text()
    assert commands(card) == [["vllm", "serve", "DIR"]]
    assert "| uncalibrated |" in card


def test_a_head_without_a_manifest_is_exported_without_a_card(fitted, tmp_path):
    shutil.copytree(fitted[0] / "head", tmp_path / "run" / "head")
    shutil.copy(fitted[0] / "recipe.yaml", tmp_path / "run")
    assert run(["ats", "export", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "vllm" / "config.json").is_file()
    assert not (tmp_path / "run" / "vllm" / "README.md").exists()
