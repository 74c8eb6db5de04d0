"""``lmtools recipes``: ls, show, copy, check; and every packaged recipe is valid."""

import json
from pathlib import Path

import pytest

from lmtools.cli import recipes as module
from lmtools.cli.app import run
from lmtools.core import recipe as loading
from lmtools.core.config import Config
from lmtools.core.files import bundled
from lmtools.core.recipe import list_recipes

GOOD = "# lmtools toy train --recipe toy/good\n# A good toy.\nsystem: toy\nsteps: 3\n"


class ToyRecipe(Config):
    system: str
    steps: int = 1


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """One good packaged recipe of a toy system."""
    folder = tmp_path / "packaged" / "recipes" / "toy"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text(GOOD)
    monkeypatch.setattr(loading, "bundled", lambda *parts: (tmp_path / "packaged").joinpath(*parts))
    monkeypatch.setattr(module, "SCHEMAS", {"toy": f"{__name__}:ToyRecipe"})
    monkeypatch.setattr(
        module, "import_module", lambda name: __import__("types").SimpleNamespace(ToyRecipe=ToyRecipe)
    )
    monkeypatch.chdir(tmp_path)
    return folder


def answer(capsys):
    return json.loads(capsys.readouterr().out)


def test_ls(packaged, capsys):
    assert run(["recipes", "ls"]) == 0
    assert capsys.readouterr().out == "toy/good  A good toy.\n"
    assert run(["recipes", "ls", "--json"]) == 0
    (row,) = answer(capsys)["recipes"]
    assert (row["name"], row["system"], row["summary"]) == ("toy/good", "toy", "A good toy.")


def test_show(packaged, capsys):
    assert run(["recipes", "show", "toy/good"]) == 0
    assert capsys.readouterr().out == GOOD
    assert run(["recipes", "show", "toy/goood", "--json"]) == 2
    assert "did you mean toy/good" in answer(capsys)["error"]


@pytest.mark.parametrize(
    ("destination", "written"),
    [([], "good.yaml"), (["mine.yaml"], "mine.yaml"), (["folder"], "folder/good.yaml")],
)
def test_copy(packaged, capsys, destination, written):
    Path("folder").mkdir()
    assert run(["recipes", "copy", "toy/good", *destination, "--json"]) == 0
    assert answer(capsys)["path"] == written
    assert Path(written).read_text() == GOOD
    assert run(["recipes", "check", written]) == 0


def test_copy_never_overwrites(packaged, capsys):
    Path("mine.yaml").write_text("precious")
    assert run(["recipes", "copy", "toy/good", "mine.yaml"]) == 2
    assert Path("mine.yaml").read_text() == "precious"
    assert "mine.yaml: exists already" in capsys.readouterr().err


def test_check_tells_every_fault_of_every_recipe(packaged, capsys):
    (packaged / "bad.yaml").write_text(
        "# lmtools toy train --recipe toy/good\nsystem: toy\nstep: 1\nsystm: 2\n"
    )
    (packaged / "worse.yaml").write_text("system: leet\n")
    assert run(["recipes", "check", "--json"]) == 2
    out = answer(capsys)
    assert not out["ok"]
    faults = {row["name"]: " ".join(row["faults"]) for row in out["recipes"]}
    assert faults["toy/good"] == ""
    for words in ("did you mean steps?", "did you mean system?", "names another recipe", "what it does"):
        assert words in faults["toy/bad"]
    assert "unknown system 'leet'" in faults["toy/worse"]
    assert "must open with a comment" in faults["toy/worse"]


def test_check_of_files(packaged, capsys):
    Path("a.yaml").write_text("steps: 1\n")
    Path("b.yaml").write_text("system: [\n")
    assert run(["recipes", "check", "a.yaml", "b.yaml", "toy/good"]) == 2
    error = capsys.readouterr().err
    assert "has no top-level key `system`" in error
    assert "b.yaml:2:" in error
    assert "ok    toy/good" in error


@pytest.mark.parametrize("info", list_recipes(), ids=lambda info: info.name)
def test_every_packaged_recipe_is_valid(info):
    assert module.faults_of(info.name, info) == []


def test_every_packaged_yaml_is_listed():
    assert len(list_recipes()) == len(list(bundled("recipes").rglob("*.y*ml")))


def test_show_explain_is_a_recipe_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["recipes", "show", "ats/quickstart", "--explain"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if line.lstrip().startswith("#")) <= 100
    Path("mine.yaml").write_text(text)
    assert run(["recipes", "check", "mine.yaml"]) == 0
    schema = module.schema_of("ats", "mine.yaml")
    mine = loading.load_recipe(schema, "mine.yaml", default="")
    assert mine == loading.load_recipe(schema, "ats/quickstart", default="")
    capsys.readouterr()
    assert run(["recipes", "show", "mine.yaml", "--explain", "--json"]) == 0
    assert answer(capsys)["text"].startswith("# mine.yaml, with every setting")


def test_show_explain_fits_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    assert run(["recipes", "show", "hyre/reward", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if line.startswith("# ")) <= 50


def test_explain_of_a_bad_recipe_tells_its_faults(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("system: ats\nsed: 1\n")
    assert run(["recipes", "show", str(tmp_path / "bad.yaml"), "--explain"]) == 2
    assert "bad.yaml:2: sed: unknown key; did you mean seed?" in capsys.readouterr().err


def test_schema(tmp_path, capsys):
    assert run(["recipes", "schema", "ats"]) == 0
    assert answer(capsys)["title"] == "lmtools recipe: ats"
    assert run(["recipes", "schema"]) == 0
    assert answer(capsys)["properties"]["system"]["enum"] == list(module.SCHEMAS)
    assert run(["recipes", "schema", "--out", str(tmp_path / "new"), "--json"]) == 0
    files = answer(capsys)["files"]
    assert list(files) == list(module.SCHEMAS)
    assert json.loads(Path(files["leret"]).read_text())["title"] == "lmtools recipe: leret"
    assert run(["recipes", "schema", "leet"]) == 2
    assert "unknown system 'leet'" in capsys.readouterr().err
