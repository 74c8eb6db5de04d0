"""The reference of all commands in Markdown, made from the commands themselves.

python -m lmtools.cli.reference docs/commands.md           write it
python -m lmtools.cli.reference docs/commands.md --check   exit 1 if it is out of date
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from lmtools.cli.app import app
from lmtools.cli.invocation import Command, every, tree
from lmtools.core.files import write_text

HEADING = """# Commands

Every command with its arguments and options, as `--help` shows them. Made from the code by
`python -m lmtools.cli.reference docs/commands.md`; `make check` says when it is out of date.
What a recipe can set is told by `lmtools recipes show NAME --explain`.
"""
PANELS = {"argument": "Arguments", "option": "Options"}


def reference() -> str:
    """The whole document."""
    root = tree(typer.main.get_command(app))
    parts = [HEADING, "## Contents\n", "\n".join(_contents(root)) + "\n"]
    return "\n".join([*parts, *map(_section, every(root))])


def _contents(root: Command) -> Iterator[str]:
    for command in every(root):
        level = command.path.count(" ")
        link = f"[{command.path}](#{command.path.replace(' ', '-')})"
        yield f"{'  ' * level}- {link}: {_escaped(command.summary)}"


def _section(command: Command) -> str:
    level = "##" if command.path.count(" ") < 2 else "###"
    usage = " ".join([command.path, *command.command.collect_usage_pieces(command.context)])
    lines = [f"{level} {command.path}", "", f"```\n{usage}\n```", "", _escaped(command.text), ""]
    for title, parameters in _panels(command.parameters).items():
        lines += [f"**{title}**", "", *(_entry(inner, command.context) for inner in parameters), ""]
    if command.inner:
        lines += ["**Commands**", ""]
        for inner in command.inner:
            lines.append(f"- [`{inner.path}`](#{inner.path.replace(' ', '-')}): {_escaped(inner.summary)}")
        lines.append("")
    return "\n".join(lines)


def _panels(parameters: Iterable[Any]) -> dict[str, list[Any]]:
    """Parameters by the panel that help shows them in: arguments, options, then panels with a name."""
    panels: dict[str, list[Any]] = {title: [] for title in PANELS.values()}
    for parameter in parameters:
        panels.setdefault(parameter.rich_help_panel or PANELS[parameter.param_type_name], []).append(
            parameter
        )
    return {title: entries for title, entries in panels.items() if entries}


def _entry(parameter: Any, context: Any) -> str:
    names = ", ".join(f"`{name}`" for name in _names(parameter, context))
    facts = "; ".join(_facts(parameter, context))
    return f"- {names}: {_escaped(' '.join((parameter.help or '').split()))}{f' ({facts})' if facts else ''}"


def _names(parameter: Any, context: Any) -> list[str]:
    """How it is written: ``--recipe FILE|NAME``, ``--backend hf|vllm|server``, ``[RUN]``."""
    if parameter.param_type_name == "argument":
        return [parameter.metavar or parameter.name.upper()]
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.is_flag:
        return names
    value = parameter.metavar or parameter.display_type(context).strip("<>").removesuffix(" range")
    return [f"{name} {value if parameter.metavar or '|' in value else value.upper()}" for name in names]


def _facts(parameter: Any, context: Any) -> Iterator[str]:
    if parameter.required:
        yield "required"
    if (parameter.multiple or parameter.nargs == -1) and "repeatable" not in (parameter.help or ""):
        yield "may be given several times"
    choices = parameter.type_descriptor.choices
    if choices and parameter.metavar:
        yield f"one of {', '.join(map(_shown, choices))}"
    if parameter.min is not None:
        yield f"at least {parameter.min}"
    if parameter.max is not None:
        yield f"at most {parameter.max}"
    if isinstance(parameter.show_default, str):
        yield f"default: {parameter.show_default}"
    elif parameter.default not in (None, False, ()) and not callable(parameter.default):
        yield f"default: {_shown(parameter.default)}"


def _shown(value: Any) -> str:
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _escaped(text: str) -> str:
    """Plain text as Markdown shows it as it is; what stands in backticks is left alone."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<])", r"\\\1", piece) for piece in pieces)


def main(arguments: Sequence[str]) -> int:
    """Write or check the named documents; returns the exit code."""
    check = "--check" in arguments
    text = reference()
    stale = []
    for path in map(Path, (argument for argument in arguments if argument != "--check")):
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
            if not check:
                write_text(path, text)
    if check and stale:
        mend = f"run make reference, or python -m lmtools.cli.reference {' '.join(stale)}"
        print(f"command reference out of date; {mend}", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
