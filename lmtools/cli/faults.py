"""The one place where an exception becomes a message and an exit code.

0 done; 2 the user's input is wrong; 1 anything else; 130 interrupted, resumable.
"""

import errno
import json
import re
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import typer

from lmtools.cli.invocation import as_called, every, tree
from lmtools.core.errors import LmtoolsError
from lmtools.core.progress import first_process
from lmtools.core.strings import cut, printable, without_secrets

INTERRUPTED = 130


@dataclass(frozen=True)
class Fault:
    """What went wrong, how to mend it, and how the process ends."""

    message: str
    fix: str
    exit_code: int


def explain(error: BaseException, debug: bool = False, resumable: bool = False) -> Fault:
    """The message for any exception that reaches the top of the command line.

    ``resumable``: the command has begun a run, and can go on with it.
    """
    if isinstance(error, LmtoolsError):
        return Fault(error.message, error.fix, error.exit_code)
    if isinstance(error, typer.TyperException):
        return _wrong_usage(error)
    if isinstance(error, typer.Abort):
        return Fault("stopped: no answer on standard input", "", 1)
    if _out_of_memory(error):
        fix = "try --set model.batch_tokens=2048, --set model.dtype=bfloat16, or a smaller model"
        return Fault(f"out of memory: {_first_line(error)}", fix, 1)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        again = " with --resume" if resumable else ""
        return Fault(f"the disk is full{where}", f"free some space, then run the same command{again}", 1)
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return Fault(f"{error.strerror}: {cut(str(error.filename), 100)}", "name another path", 2)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Fault(
            f"no permission: {error.filename or error}", "check the folder's owner, or use --out DIR", 1
        )
    hint = "" if debug else "run with --debug for the traceback"
    return Fault(f"internal error: {type(error).__name__}: {_first_line(error)}", hint, 1)


def report(fault: Fault, *, as_json: bool, error: BaseException | None = None) -> None:
    """Tell a person on stderr and, with ``as_json``, a program on stdout; ``error`` adds its traceback."""
    if error is not None:
        with suppress(OSError):
            lines = "".join(traceback.format_exception(error))
            typer.echo(printable(without_secrets(lines)), err=True, nl=False)
    first_word = "interrupted" if fault.exit_code == INTERRUPTED else "error"
    fix = as_called(fault.fix)
    with suppress(OSError):  # the exit code says it, too
        typer.secho(f"{first_word}: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
        typer.echo(printable(without_secrets(fault.message)), err=True)
        if fix:
            typer.echo(printable(f"  fix: {fix}" if first_word == "error" else fix), err=True)
    if as_json and first_process():
        value = {"error": without_secrets(fault.message), "fix": fix, "exit_code": fault.exit_code}
        with suppress(OSError):
            sys.stdout.write(json.dumps(value) + "\n")


def _wrong_usage(error: typer.TyperException) -> Fault:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "lmtools"
    message = error.format_message() or "a command is missing"
    meant = [f"`{path}`" for path in _elsewhere(message, context)]
    fix = f"did you mean {' or '.join(meant)}?" if meant else f"`{command} --help` lists what it takes"
    return Fault(message, fix, 2)


def _elsewhere(message: str, context: Any) -> list[str]:
    """The commands that have the name for which there was none where it was asked for: `lmtools train`."""
    unknown = re.match(r"No such command '([\w-]+)'", message)
    if unknown is None or context is None:
        return []
    root = tree(context.find_root().command)
    return [
        command.path
        for command in every(root)
        if command.path.split()[1:] and command.path.split()[-1] == unknown[1]
    ]


def _out_of_memory(error: BaseException) -> bool:
    """Told by name and text, since torch is not imported for an error message."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
