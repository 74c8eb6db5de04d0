"""``lmtools``: the command line's top. Each command group is a module beside this one."""

import errno
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from lmtools import __version__
from lmtools.cli.completion import answer, asked
from lmtools.cli.faults import INTERRUPTED, Fault, explain, report
from lmtools.core.errors import LmtoolsError
from lmtools.core.strings import well_formed

OUTPUT_LOST = 141
"""As a shell counts a program that was ended because nobody reads what it writes."""

# Command groups are imported only when one of their commands is called: ``lmtools --help`` costs neither
# torch nor pydantic, and a group that is absent or broken does not take the others with it.


@dataclass(frozen=True)
class Member:
    """A command or command group: where it is, and the line that help prints without importing it."""

    module: str
    attribute: str
    summary: str

    def exists(self) -> bool:
        """Whether its module is there; the module is not run."""
        return find_spec(self.module) is not None

    def load(self, name: str) -> Any:
        """The click command behind a ``typer.Typer`` or a plain function."""
        member = getattr(import_module(self.module), self.attribute)
        if isinstance(member, typer.Typer):
            command: Any = typer.main.get_group(member)
        else:
            single = typer.Typer(add_completion=False)
            single.command(name)(member)
            command = typer.main.get_command(single)
        command.name = name
        _summarise(command)
        return command


def _summarise(command: Any) -> None:
    """Lists of commands show the whole first paragraph of each one's docstring, wherever its lines break."""
    command.short_help = command.short_help or " ".join((command.help or "").split("\n\n")[0].split())
    for inner in getattr(command, "commands", {}).values():
        _summarise(inner)


class LazyGroup(TyperGroup):
    """The top of the command line; ``members`` are known by name and summary until one is called."""

    members: dict[str, Member] = {}  # noqa: RUF012  (set once per subclass, never changed)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, member in self.members.items():
            if member.exists():
                self.commands[name] = TyperCommand(name, help=member.summary, short_help=member.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The called member itself in place of its summary."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in self.members:
            command = self.commands[name] = self.members[name].load(name)
        return name, command, rest


MEMBERS = {
    "quickstart": Member(
        "lmtools.cli.quickstart", "quickstart", "Built-in model, bundled data: train, measure and report."
    ),
    "leret": Member("lmtools.cli.leret", "app", "LeReT: a model that writes better search queries."),
    "hyre": Member("lmtools.cli.hyre", "app", "HyRe: a reward model that fits one user, from five examples."),
    "ats": Member("lmtools.cli.ats", "app", "ATS: a head that makes a model's probabilities honest."),
    "eval": Member("lmtools.cli.eval", "app", "Measure a model: calibration, and reward models on pairs."),
    "report": Member("lmtools.cli.report", "report", "One page that shows a run, or several side by side."),
    "generate": Member("lmtools.cli.generate", "generate", "Generate text with any model and backend."),
    "models": Member("lmtools.cli.models", "app", "Fetch and list the built-in models."),
    "recipes": Member("lmtools.cli.recipes", "app", "List, show, copy and check recipes."),
    "data": Member("lmtools.cli.data", "app", "Check data files and convert public formats."),
    "doctor": Member("lmtools.cli.doctor", "doctor", "What is installed, what works, and what is missing."),
}


class _Top(LazyGroup):
    members = MEMBERS


app = typer.Typer(
    cls=_Top, no_args_is_help=True, rich_markup_mode="rich", context_settings={"max_content_width": 100}
)


def _print_version(version: bool) -> None:
    if version:
        typer.echo(f"lmtools {__version__}")
        raise typer.Exit


@app.callback()
def lmtools(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version of lmtools, and do nothing else.",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error, for a bug report; may stand anywhere."),
    ] = False,
) -> None:
    """Align language models, and build retrieval on them, with little supervision."""


def main() -> NoReturn:
    """The entry point: runs ``sys.argv`` and ends the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    open_streams()
    # Read when torch is loaded. Threads that spin while they wait make everything several times slower where
    # cores are shared; what they would gain on cores of their own is within the noise.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars, which a log would keep whole
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        code = unwritten(error)
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    sys.exit(code)


def open_streams() -> None:
    """Make the standard streams fit to write to.

    One that the caller has closed goes nowhere, and a letter that the terminal's encoding lacks is escaped.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _of_output(error: OSError) -> bool:
    """Whether it is standard output that cannot be written to: then not even a line's end can."""
    if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO):
        return False
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except OSError:
        return True
    return False


def unwritten(error: OSError) -> int:
    """The exit code where standard output takes no more; why, unless its reader has gone away."""
    if error.errno != errno.EPIPE:
        report(Fault(f"standard output cannot be written: {error.strerror}", "", OUTPUT_LOST), as_json=False)
    discard(sys.stdout)
    return OUTPUT_LOST


def discard(stream: TextIO) -> None:
    """Let what is still in the buffer go nowhere: Python would fail to write it, and tell, once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run(arguments: Sequence[str]) -> int:
    """Run one command line, without the program's name; returns the exit code and never raises."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    as_json = "--json" in arguments
    command: Any = typer.main.get_command(app)
    if asked():
        return answer(command)
    try:
        check_texts(arguments)
        outcome = command.main(args=arguments, prog_name="lmtools", standalone_mode=False)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer's or rich's answer to it
            return OUTPUT_LOST
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        outcome = INTERRUPTED
    except BaseException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which has printed the help of a bare group
            return 0
        if isinstance(error, OSError) and _of_output(error):
            return unwritten(error)
        fault = explain(error, debug, resumable=bool(_continuation(command, arguments)))
        report(fault, as_json=as_json, error=error if debug else None)
        return fault.exit_code
    if outcome == INTERRUPTED:
        report(
            Fault("stopped before the end", _continuation(command, arguments), INTERRUPTED), as_json=as_json
        )
        return INTERRUPTED
    return outcome if isinstance(outcome, int) else 0


def check_texts(arguments: Sequence[str]) -> None:
    """Hold the words of a command line, and what else names files, to be text.

    Raises:
        LmtoolsError: one of them is not UTF-8.
    """
    named = [(f"argument {number}", word) for number, word in enumerate(arguments, start=1)]
    for number, word in enumerate(arguments[1:], start=1):
        if arguments[number - 1].startswith("--") and not word.startswith("--"):
            named[number] = (arguments[number - 1], word)
    named += [(f"${name}", value) for name, value in os.environ.items() if name.startswith("LMTOOLS_")]
    try:
        named.append(("the working directory", os.getcwd()))
    except OSError as error:
        message = f"the working directory cannot be used: {error.strerror}"
        raise LmtoolsError(message, fix="cd to one that is there") from error
    for name, text in named:
        if well_formed(text) != text:
            option, equals, value = text.partition("=")
            if equals and text.startswith("--"):
                name, text = option, value
            # Bytes that are not UTF-8 come as these halves of characters.
            escaped = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)
            raise LmtoolsError(f"{name}: {escaped} is not UTF-8", fix="give it in UTF-8, or by another name")


def _continuation(command: Any, arguments: Sequence[str]) -> str:
    """How to go on after an interruption; empty for a command that has nothing to resume."""
    if "--dry-run" in arguments or not ("--resume" in arguments or _has_begun()):
        return ""
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    if not any("--resume" in parameter.opts for parameter in command.params):
        return ""
    again = arguments if "--resume" in arguments else [*arguments, "--resume"]
    return f"continue with: lmtools {shlex.join(again)}"


def _has_begun() -> bool:
    """Whether there is a run to go on with; its module was imported if there is."""
    module = sys.modules.get("lmtools.core.run")
    return module is not None and bool(module.Run.begun)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """A scheduler's SIGTERM ends a run as Ctrl-C does: tidily, and resumable."""
    raise KeyboardInterrupt
