"""Command lines in messages can be typed as they stand, however lmtools was started."""

import sys

import pytest

from lmtools.cli.app import run
from lmtools.cli.invocation import as_called, program


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A folder with ``.venv/bin/lmtools`` and ``python`` in it, which is the current one."""
    folder = tmp_path / "a project" / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("lmtools", "python"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder


@pytest.mark.parametrize("called", [".venv/bin/lmtools", "{venv}/lmtools"])
def test_not_on_the_path_it_is_the_path(venv, monkeypatch, called):
    monkeypatch.setattr(sys, "argv", [called.format(venv=venv)])
    assert program() == ".venv/bin/lmtools"


def test_elsewhere_it_is_the_absolute_path_quoted(venv, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [str(venv / "lmtools")])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    assert program() == f"'{venv}/lmtools'"


def test_on_the_path_it_is_the_name(venv, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(venv / "lmtools")])
    monkeypatch.setenv("PATH", str(venv))
    assert program() == "lmtools"


def test_another_lmtools_on_the_path_is_not_taken_for_it(venv, monkeypatch, tmp_path):
    other = tmp_path / "lmtools"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(venv / "lmtools")])
    assert program() == ".venv/bin/lmtools"


def test_python_dash_m(venv, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/lmtools/__main__.py"])
    assert program() == ".venv/bin/python -m lmtools"
    monkeypatch.setenv("PATH", str(venv))
    assert program() == "python -m lmtools"


def test_only_command_lines_are_rewritten(venv, monkeypatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/lmtools"])
    assert as_called("`lmtools recipes ls` lists them") == "`.venv/bin/lmtools recipes ls` lists them"
    assert as_called("see `lmtools --help`") == "see `.venv/bin/lmtools --help`"
    for text in ("lmtools needs Python", "cd src/lmtools data", "lmtools recipesfolder", "-m lmtools.report"):
        assert as_called(text) == text


def test_the_fix_of_an_error_is_rewritten(venv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [".venv/bin/lmtools"])
    assert run(["recipes", "show", "leret/quickstrt"]) == 2
    assert "`.venv/bin/lmtools recipes ls`" in capsys.readouterr().err
