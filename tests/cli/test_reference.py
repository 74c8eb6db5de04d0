"""Every command and option says what it does, and the reference of them is the one in docs/."""

import re
from pathlib import Path

import pytest
import typer

from lmtools.cli.app import MEMBERS, app
from lmtools.cli.invocation import every, tree
from lmtools.cli.reference import main, reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.md"
COMMANDS = list(every(tree(typer.main.get_command(app))))
PARAMETERS = [
    pytest.param(parameter, id=f"{command.path} {parameter.opts[0]}")
    for command in COMMANDS
    for parameter in command.parameters
]


def section(path):
    """A command's part of the reference."""
    parts = reference().split("\n## ")
    parts = [piece for part in parts for piece in part.split("\n### ")]
    return next(part for part in parts if part.startswith(f"{path}\n"))


def test_every_command_is_walked():
    paths = {command.path for command in COMMANDS}
    assert {"lmtools", "lmtools leret train", "lmtools hyre adapt", "lmtools recipes schema"} <= paths
    assert {f"lmtools {name}" for name, member in MEMBERS.items() if member.exists()} <= paths
    assert len(PARAMETERS) > 100


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.path)
def test_a_command_says_what_it_does(command):
    assert len(command.summary.split()) >= 5
    assert command.summary.endswith((".", "?"))
    assert len(command.summary) <= 120


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_says_what_it_does_and_costs(parameter):
    words = (parameter.help or "").split()
    assert 6 <= len(words) <= 70, parameter.help
    assert parameter.help.endswith((".", ")"))
    # Help is rich markup, in which [mean] is a style and not shown.
    assert not re.search(r"\[[a-z#/@]", parameter.help)


def test_usage_arguments_options_and_panels():
    train = section("lmtools leret train")
    assert "```\nlmtools leret train [OPTIONS]\n```" in train
    assert train.index("**Options**") < train.index("**Common to all commands**")
    assert "- `--backend hf|vllm|server`: " in train
    assert "- `--recipe FILE|NAME`: " in train
    adapt = section("lmtools hyre adapt")
    assert "(at least 0; default: `5`)" in adapt
    assert "test" in adapt.split("```")[2]  # the second paragraph of the docstring
    pull = section("lmtools models pull")
    assert "**Arguments**\n\n- `[NAME]`: " in pull
    assert "default: `builtin:smollm2-135m-instruct`" in pull
    prepare = section("lmtools data prepare")
    assert "--to questions|corpus|instructions|choices|truthful|preferences`" in prepare
    assert "(required)" in prepare
    assert "- `--samples INT`" in section("lmtools generate")
    assert "default: 256" in section("lmtools generate")


def test_the_contents_lead_to_every_section():
    text = reference()
    for command in COMMANDS:
        assert f"- [{command.path}](#{command.path.replace(' ', '-')}): " in text
        assert f"# {command.path}\n" in text


def test_it_depends_on_no_terminal_and_names_no_place(monkeypatch):
    before = reference()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("HOME", "/nowhere")
    assert reference() == before
    assert str(Path.cwd()) not in before
    assert str(Path.home()) not in before
    assert "/tmp" not in before


def test_it_is_checked_and_written(tmp_path, capsys):
    document = tmp_path / "commands.md"
    assert main([str(document), "--check"]) == 1
    assert "make reference" in capsys.readouterr().err
    assert not document.exists()
    assert main([str(document)]) == 0
    assert document.read_text(encoding="utf-8") == reference()
    assert main([str(document), "--check"]) == 0
    document.write_text(reference() + "more\n", encoding="utf-8")
    assert main(["--check", str(document)]) == 1


def test_the_document_is_up_to_date():
    assert main(["--check", str(DOCUMENT)]) == 0, "run make reference"
