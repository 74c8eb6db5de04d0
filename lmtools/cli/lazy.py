"""A command group whose members are imported only when one of them is called.

``lmtools --help`` therefore costs neither torch nor pydantic, and a command group that is absent or broken
does not take the others with it.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


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
        found = getattr(import_module(self.module), self.attribute)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found)
        else:
            single = typer.Typer(add_completion=False)
            single.command(name)(found)
            command = typer.main.get_command(single)
        command.name = name
        return command


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
