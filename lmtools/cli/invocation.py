"""How lmtools was called, so that the command lines in its messages can be typed as they stand.

``lmtools`` where the shell finds this one under that name, else its path (``.venv/bin/lmtools`` after
``make quickstart``), or ``python -m lmtools``. Messages are written with the bare name, and the command line
puts the other in its place when it prints them.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

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
    found = shutil.which(name)
    if found is not None and os.path.abspath(found) == os.path.abspath(file):
        return name
    absolute, here = Path(os.path.abspath(file)), Path.cwd()
    below = absolute.is_relative_to(here)
    return shlex.quote(str(absolute.relative_to(here) if below else absolute))
