"""A run is usable from any directory, after a move, and tells no secret of an address."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import pytest
import tiny_hyre
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lmtools.ats.recipe import AtsRecipe
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.cli.app import run
from lmtools.core.config import Config, Location
from lmtools.core.errors import LmtoolsError, RunError
from lmtools.core.files import absolute
from lmtools.core.http import check_address
from lmtools.core.progress import say
from lmtools.core.recipe import dump_recipe, parse_yaml
from lmtools.core.run import Run
from lmtools.core.strings import without_secrets
from lmtools.hyre.recipe import HyreRecipe, RewardRecipe
from lmtools.leret.recipe import LeretRecipe
from lmtools.models.recipes import load_model_recipe, named_recipe


@pytest.fixture
def project(tiny_llama, tmp_path, monkeypatch):
    """A folder with a model, pairs and a recipe that names both from there; its name is no plain one."""
    folder = tmp_path / "Zürich 雪 a"
    folder.mkdir()
    shutil.copytree(tiny_llama, folder / "llama")
    recipe = tiny_hyre.tiny_recipe(folder / "llama", folder)
    text = dump_recipe(recipe).replace(f"{folder}/", "")
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    assert run(["hyre", "train", "--recipe", "mine.yaml", "--out", "run"]) == 0
    assert (folder / "mine.yaml").read_text(encoding="utf-8") == text
    return folder


def test_a_run_is_usable_from_any_directory_and_moved_with_its_data(project, tmp_path, monkeypatch, capsys):
    written = yaml.safe_load((project / "run" / "recipe.yaml").read_text(encoding="utf-8"))
    assert written["model"]["name"] == str(project / "llama")
    manifest = json.loads((project / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert str(project / "llama") in manifest["inputs"]
    assert manifest["directory"] == str(project / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    adapt = ["hyre", "adapt", "--examples", "1", "--out"]
    assert run([*adapt, "a", "--run", str(project / "run")]) == 0
    # Resumed from another directory, by a link and by an absolute path.
    link = tmp_path / "link"
    link.symlink_to(project)
    named = ["--recipe", str(project / "mine.yaml"), "--model", str(link / "llama")]
    file = {kind: Path(written["data"][kind]).name for kind in ("train", "targets")}
    named += [word for kind in file for word in ("--set", f"data.{kind}={link}/{file[kind]}")]
    assert run(["hyre", "train", *named, "--out", str(project / "run"), "--resume"]) == 0
    # With what it names.
    moved = tmp_path / "moved"
    project.rename(moved)
    assert run([*adapt, "b", "--run", str(moved / "run")]) == 0
    # Without it.
    alone = tmp_path / "alone"
    (moved / "run").rename(alone)
    capsys.readouterr()
    assert run([*adapt, "c", "--run", str(alone)]) == 2
    err = capsys.readouterr().err
    assert f"model.name: {project}/llama is not there any more" in err
    assert "--set model.name=PATH" in err
    settings = ["--set", f"model.name={moved}/llama", "--set", f"data.targets={moved}/{file['targets']}"]
    assert run([*adapt, "c", "--run", str(alone), *settings]) == 0


def test_moved_data_is_the_same_where_its_content_is(project, tmp_path):
    moved = tmp_path / "moved"
    project.rename(moved)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(moved)
        command = ["hyre", "train", "--recipe", "mine.yaml", "--out", "run", "--resume"]
        assert run(command) == 0
        pairs = moved / yaml.safe_load((moved / "mine.yaml").read_text(encoding="utf-8"))["data"]["train"]
        pairs.write_text(pairs.read_text(encoding="utf-8").replace("a", "b"), encoding="utf-8")
        assert run(command) == 2


PATHS = {
    HyreRecipe: {
        "data": {"train": "p.jsonl", "targets": "~/t.jsonl"},
        "model": {"name": "./m", "adapter": "./a"},
    },
    LeretRecipe: {
        "data": {"train": "q.jsonl", "test": "../q.jsonl", "corpus": "c d.jsonl"},
        "retriever": {"kind": "hybrid", "members": [{"kind": "bm25"}, {"kind": "dense", "encoder": "./e"}]},
    },
    AtsRecipe: {"data": {"train": "hf:."}},
    CalibrationRecipe: {"tasks": ["task.jsonl"], "head": "run", "answers": {"file": "a.jsonl"}},
    RewardRecipe: {"run": "run", "weights": "w", "pairs": "p.jsonl"},
}  # fmt: skip
NAMES = {
    HyreRecipe: {"data": {"train": "atlas:preferences", "targets": "data:x"}, "model": {"name": "org/model"}},
    LeretRecipe: {"data": {"train": "hf:org/set:en", "corpus": "atlas"}},
    AtsRecipe: {"model": {"name": "llama", "backend": "server"}},
    CalibrationRecipe: {"tasks": ["mmlu"], "model": {"name": "builtin:smollm2-135m-instruct"}},
    RewardRecipe: {"pairs": "atlas:preferences.targets"},
}


def leaves(value):
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if items is None else [leaf for item in items for leaf in leaves(item)]


@pytest.mark.parametrize("schema", PATHS, ids=lambda schema: schema.__name__)
def test_every_path_becomes_absolute_and_no_other_name(schema, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mmlu", "atlas", "llama"):
        (tmp_path / folder).mkdir()
    (tmp_path / "task.jsonl").write_text("{}")
    default = {"tasks": ["mmlu"]} if schema is CalibrationRecipe else {}
    _, config = named_recipe(schema, schema.model_validate(default | PATHS[schema]), default="x/y")
    texts = set(map(str, leaves(config.model_dump(mode="json"))))
    for given_path in leaves(PATHS[schema]):
        if given_path not in ("hybrid", "bm25", "dense"):
            prefix = "hf:" if given_path.startswith("hf:") else ""
            assert prefix + absolute(given_path.removeprefix(prefix)) in texts
    _, config = named_recipe(schema, schema.model_validate(default | NAMES[schema]), default="x/y")
    texts = set(map(str, leaves(config.model_dump(mode="json"))))
    assert set(leaves(NAMES[schema])) <= texts


class Toy(Config):
    file: Annotated[str, Location()] = "x"
    url: str = "http://h"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_a_written_path_comes_back_as_it_was(name):
    path = absolute(name)
    written = dump_recipe(Toy().with_paths(lambda key, _: path))
    assert parse_yaml(written, "")["file"] == without_secrets(path)


# Secrets.

SECRET = "http://anna:PW@host/v1?api_key=PW&k=3"


def test_no_secret_is_written_down_and_the_run_resumes(tmp_path, capsys):
    recipe = Toy(url=SECRET)
    options = {"command": ["lmtools", "--set", f"url={SECRET}"], "inputs": {SECRET: "00"}, "seed": 0}
    with Run.create(tmp_path / "run", recipe, resume=False, **options) as begun:
        begun.finish(begun.results("toy", ()))
    with Run.create(tmp_path / "run", recipe, resume=True, **options) as resumed:
        say(f"{SECRET} gave no answer")
        assert "PW" not in resumed.results("toy", ()).command
    for path in (tmp_path / "run").iterdir():
        assert "PW" not in path.read_text(encoding="utf-8"), path
    assert "http://***@host/v1?api_key=***&k=3 gave no answer" in capsys.readouterr().err
    with pytest.raises(RunError, match="url: was"):
        Run.create(tmp_path / "run", Toy(url="http://other"), resume=True, **options)


def test_an_address_out_of_a_run_says_that_its_secrets_are_not_kept():
    with pytest.raises(LmtoolsError, match="not kept in a run") as error:
        check_address("http://***@host/v1", "model.server_url")
    assert error.value.fix == "give the whole address again: --set model.server_url=ADDRESS"


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("http://me:pa/s#s@h:80/v1", "http://***@h:80/v1"),
        ("http://TOKEN@h", "http://***@h"),
        ("http://h:8000/@x", "http://h:8000/@x"),
        ("http://[::1]:80/x@y", "http://[::1]:80/x@y"),
        ("https://medium.com/@me", "https://medium.com/@me"),
        ("http://h?accessToken=1&author=me&x-goog-signature=2", "http://h?accessToken=***&author=me&x-goog-signature=***"),
        ("no address: me@host, key=1", "no address: me@host, key=1"),
    ],
)  # fmt: skip
def test_what_is_masked(address, masked):
    assert without_secrets(address) == masked
    assert without_secrets(masked) == masked


def test_load_model_recipe_names_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text("system: ats\ndata: {train: ~/x.jsonl}\n")
    assert load_model_recipe(AtsRecipe, "r.yaml", default="").data.train == str(Path.home() / "x.jsonl")
