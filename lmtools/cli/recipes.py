"""``lmtools recipes``: list, show, copy and check recipes."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from lmtools.cli.options import Json, emit
from lmtools.core.config import Config
from lmtools.core.errors import LmtoolsError, RecipeError
from lmtools.core.files import write_text
from lmtools.core.progress import say
from lmtools.core.recipe import RecipeInfo, find_recipe, list_recipes, load_recipe, recipe_system

SCHEMAS = {
    "leret": "lmtools.leret.recipe:LeretRecipe",
    "hyre": "lmtools.hyre.recipe:HyreRecipe",
    "reward": "lmtools.hyre.reward_recipe:RewardRecipe",
    "ats": "lmtools.ats.recipe:AtsRecipe",
    "calibration": "lmtools.calibration.recipe:CalibrationRecipe",
}
"""The schema of each system's recipes, as ``module:class``, imported when a recipe is checked."""

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A packaged recipe, such as leret/quickstart.")]


@app.command("ls")
def ls(json: Json = False) -> None:
    """List the packaged recipes, with what each does."""
    infos = list_recipes()
    emit({"recipes": infos}, json)
    if not json:
        width = max((len(info.name) for info in infos), default=0)
        for info in infos:
            typer.echo(f"{info.name:<{width}}  {info.summary}")


@app.command("show")
def show(name: Name, json: Json = False) -> None:
    """Print a recipe as it is, comments included."""
    path = find_recipe(name)
    text = path.read_text(encoding="utf-8")
    emit({"name": name, "path": path, "text": text}, json)
    if not json:
        typer.echo(text, nl=False)


@app.command("copy")
def copy(
    name: Name,
    destination: Annotated[
        Path | None, typer.Argument(metavar="[DEST]", help="A file or folder; without it, this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Copy a recipe to a file of your own, to change it. Never overwrites."""
    source = find_recipe(name)
    target = destination or Path(source.name)
    if target.is_dir():
        target = target / source.name
    if target.exists():
        raise RecipeError(f"{target}: exists already", fix="name another file, or delete it first")
    write_text(target, source.read_text(encoding="utf-8"))
    emit({"name": name, "path": target}, json)
    say(f"wrote {target}; use it with --recipe {target}")


@app.command("check")
def check(
    recipes: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|NAME]...", help="Without any: all packaged recipes.")
    ] = None,
    json: Json = False,
) -> None:
    """Validate recipes against the schema of their system; every fault of every recipe is told at once."""
    packaged = {info.name: info for info in list_recipes()}
    outcomes = [{"name": name, "faults": faults_of(name, packaged.get(name))} for name in recipes or packaged]
    bad = [outcome for outcome in outcomes if outcome["faults"]]
    emit({"recipes": outcomes, "ok": not bad}, json)
    for outcome in outcomes:
        say(f"{'FAULT' if outcome['faults'] else 'ok':<6}{outcome['name']}")
        for fault in outcome["faults"]:
            say(f"      {fault}")
    if bad:
        raise typer.Exit(2)


def faults_of(name: str, packaged: RecipeInfo | None = None) -> list[str]:
    """Everything wrong with a recipe; a packaged one must also open with a command line that runs it."""
    faults: list[str] = []
    try:
        path = find_recipe(name)
        load_recipe(schema_of(recipe_system(path), name), name, default=name)
    except LmtoolsError as error:
        faults += error.message.splitlines()
    if packaged is not None:
        if not packaged.command.startswith(("lmtools ", "accelerate launch ")):
            faults.append(f"{packaged.path}:1: must open with a comment holding its command line")
        elif "--recipe" in packaged.command and f"--recipe {name}" not in packaged.command:
            faults.append(f"{packaged.path}:1: its command line names another recipe than {name}")
        if not packaged.summary:
            faults.append(f"{packaged.path}:2: must say in a second comment what it does")
    return faults


def schema_of(system: str, name: str) -> type[Config]:
    """The schema of a system's recipes.

    Raises:
        RecipeError: the recipe names no known system.
    """
    if system not in SCHEMAS:
        given = f"unknown system {system!r}" if system else "has no top-level key `system`"
        raise RecipeError(f"{name}: {given}", fix=f"write `system: ` and one of {', '.join(SCHEMAS)}")
    module, _, attribute = SCHEMAS[system].partition(":")
    schema: Any = getattr(import_module(module), attribute)
    if not (isinstance(schema, type) and issubclass(schema, Config)):
        raise TypeError(f"{SCHEMAS[system]} is not a Config")
    return schema
