"""The commands that the README shows are commands, with the options that it gives them."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from lmtools.cli.app import app
from lmtools.core.results import read_results

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


@pytest.mark.parametrize(
    "document", [README, README.parent / "docs" / "results.md"], ids=lambda path: path.name
)
def test_the_time_of_the_quickstart_is_the_measured_one(document):
    measured = read_results(README.parent / "benchmarks" / "results" / "quickstart.json")
    [whole] = [row.metrics for row in measured.rows if row.name == "quickstart"]
    used, clock = (whole[name].value / 60 for name in ("processor-seconds", "seconds"))
    text = " ".join(document.read_text(encoding="utf-8").split())
    assert f"takes {clock:.0f} minutes on two cores without bfloat16 ({used:.0f} of processor time" in text
    assert measured.machine["precision"] == {"model": "float32"}
