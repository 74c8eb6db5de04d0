"""The commands that the README shows are commands, with the options that it gives them."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from lmtools.cli.app import app

README = Path(__file__).parents[2] / "README.md"


def shown():
    """The command lines in the README's blocks, without those that only list commands."""
    for block in re.findall(r"```\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if line.startswith("lmtools ") else []
            if words and not {"|", "lmtools"} & set(words[1:]):
                yield words[1:]


@pytest.mark.parametrize("words", list(shown()), ids=" ".join)
def test_a_command_line_is_understood(words):
    command, rest = typer.main.get_command(app), words
    if words[0].startswith("-"):  # of lmtools itself, such as --install-completion
        assert any(words[0] in parameter.opts for parameter in command.params)
        return
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(command.context_class(command), rest)
    command.make_context(command.name, rest).close()


def test_there_are_some():
    assert {words[0] for words in shown()} >= {"leret", "ats", "generate", "data", "recipes"}
