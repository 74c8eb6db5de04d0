"""How lmtools was called, so that the command lines in its messages can be typed as they stand.

``lmtools`` where the shell finds this one under that name, else its path (``.venv/bin/lmtools`` after
``make quickstart``), or ``python -m lmtools``. Messages are written with the bare name, and the command line
puts the other in its place when it prints them.
"""

import inspect
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "lmtools"
COMMANDS = "quickstart|leret|hyre|ats|eval|report|generate|models|recipes|data|doctor"
COMMAND = re.compile(rf"(?<![\w./-]){NAME} (?=--|(?:{COMMANDS})\b)")
"""The program's name where a command or an option follows it, and nothing that is part of a path."""


def as_called(text: str) -> str:
    """``text`` with every ``lmtools COMMAND`` in it as this user has to type it."""
    called = program()
    return COMMAND.sub(lambda _: f"{called} ", text)


def program() -> str:
    """What to type in place of ``lmtools``, quoted for a shell."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == (NAME, "__main__.py"):
        return f"{_typed('python', Path(sys.executable))} -m {NAME}"
    if called.name != NAME:  # run from Python, not from a shell
        return NAME
    return _typed(NAME, called)


def _typed(name: str, file: Path) -> str:
    """The bare name where the shell finds that very file, else its path: relative if it lies below here."""
    path = shutil.which(name)
    if path is not None and os.path.abspath(path) == os.path.abspath(file):
        return name
    absolute, here = Path(os.path.abspath(file)), Path.cwd()
    below = absolute.is_relative_to(here)
    return shlex.quote(str(absolute.relative_to(here) if below else absolute))


# Every command there is, as the reference lists them and as a mistyped one is looked for.


@dataclass(frozen=True)
class Command:
    """A command or command group: ``path`` is what is typed to call it, ``inner`` what a group holds."""

    path: str
    command: Any
    context: Any
    inner: tuple["Command", ...]

    @property
    def text(self) -> str:
        """Its docstring."""
        return inspect.cleandoc(self.command.help or "")

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring, on one line."""
        return " ".join(self.text.split("\n\n")[0].split())

    @property
    def parameters(self) -> list[Any]:
        """Its arguments and options, without ``--help``."""
        return [
            parameter
            for parameter in self.command.params
            if not parameter.hidden and "--help" not in parameter.opts
        ]


def tree(command: Any) -> Command:
    """All commands below the program's top, those imported that are only imported when called."""
    return _subtree("lmtools", command, command.context_class(command, info_name="lmtools"))


def _subtree(path: str, command: Any, context: Any) -> Command:
    inner = []
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        _, member, _ = command.resolve_command(context, [name])
        below = member.context_class(member, info_name=name, parent=context)
        inner.append(_subtree(f"{path} {name}", member, below))
    return Command(path, command, context, tuple(inner))


def every(command: Command) -> Iterator[Command]:
    """A command and all below it, each before those it holds."""
    yield command
    for inner in command.inner:
        yield from every(inner)
