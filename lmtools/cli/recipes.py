"""``lmtools recipes``: list, show, copy and check recipes."""

import shutil
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from lmtools.cli import completion
from lmtools.cli.invocation import as_called
from lmtools.cli.options import Json
from lmtools.cli.output import echo, emit
from lmtools.core.config import Config
from lmtools.core.errors import LmtoolsError, RecipeError
from lmtools.core.files import write_json, write_text
from lmtools.core.progress import say
from lmtools.core.recipe import (
    RUNS,
    RecipeInfo,
    find_recipe,
    list_recipes,
    load_recipe,
    read_recipe,
    recipe_system,
)

SCHEMAS = {
    "leret": "lmtools.leret.recipe:LeretRecipe",
    "hyre": "lmtools.hyre.recipe:HyreRecipe",
    "reward": "lmtools.hyre.recipe:RewardRecipe",
    "ats": "lmtools.ats.recipe:AtsRecipe",
    "calibration": "lmtools.calibration.recipe:CalibrationRecipe",
}
"""The schema of each system's recipes, as ``module:class``, imported when a recipe is checked."""

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A packaged recipe, such as leret/quickstart, or a file.",
        autocompletion=completion.recipes,
    ),
]


@app.command("ls")
def ls(json: Json = False) -> None:
    """List the packaged recipes, with what each does."""
    infos = list_recipes()
    emit({"recipes": infos}, json)
    if not json:
        width = max((len(info.name) for info in infos), default=0)
        for info in infos:
            echo(f"{info.name:<{width}}  {info.summary}")


@app.command("show")
def show(
    name: Name,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Print every setting, those that the recipe leaves at their defaults too, with what "
            "it does and costs, its type and its default. What is printed is a recipe again.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Print a recipe as it is, comments included; with --explain, all that can be set in it."""
    path = find_recipe(name)
    text = _explained(name, path) if explain else read_recipe(path)
    emit({"name": name, "path": path, "text": text}, json)
    if not json:
        echo(text.removesuffix("\n"))


@app.command("copy")
def copy(
    name: Name,
    destination: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DEST]", help="A new file, or a folder to write it in; without it, this folder."
        ),
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
    write_text(target, read_recipe(source))
    emit({"name": name, "path": target}, json)
    command = RUNS.get(recipe_system(target), "leret train")
    say(as_called(f"wrote {target}   next: lmtools {command} --recipe {target} --dry-run"))


@app.command("check")
def check(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME]...",
            help="Recipes of your own or packaged ones; without any, all packaged recipes.",
            autocompletion=completion.recipes,
        ),
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


@app.command("schema")
def schema_command(
    system: Annotated[
        str | None,
        typer.Argument(
            metavar="[SYSTEM]",
            help=f"One of {', '.join(SCHEMAS)}; without it, one schema that tells them apart by the key "
            "`system`, or with --out one file for each.",
            autocompletion=completion.words(*SCHEMAS),
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write SYSTEM.schema.json into this folder, in place of what is there; without it the "
            "schema is printed.",
            file_okay=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print the JSON Schema of recipes, with which an editor completes, explains and checks them.

    An editor with yaml-language-server takes it from a comment in the recipe:
    `# yaml-language-server: $schema=leret.schema.json`, a path relative to the recipe.
    """
    from lmtools.core.recipe_schema import any_schema, json_schema

    systems = SCHEMAS if system is None else (system,)
    classes = {name: schema_of(name, "lmtools recipes schema") for name in systems}
    if out is None:
        whole = any_schema(classes) if system is None else json_schema(system, classes[system])
        emit(whole, True)
        return
    files = {name: out / f"{name}.schema.json" for name in classes}
    for name, path in files.items():
        write_json(path, json_schema(name, classes[name]))
        say(f"wrote {path}; in a recipe beside it: # yaml-language-server: $schema={path.name}")
    emit({"files": files}, json)


def _explained(name: str, path: Path) -> str:
    """A recipe with all its settings, behind a comment that says what this is."""
    from lmtools.core.recipe_explain import explain_recipe

    config = load_recipe(schema_of(recipe_system(path), name), name, default=name)
    width = _width()
    heading = [
        f"{name}, with every setting there is; what a recipe leaves out has its default.",
        "Above each setting: what it does, then (its type; its default; whether this recipe changes it).",
    ]
    wrapped = [line for paragraph in heading for line in textwrap.wrap(paragraph, width - 2)]
    return "\n".join(f"# {line}" for line in wrapped) + "\n\n" + explain_recipe(config, width)


def _width() -> int:
    """Columns of the terminal; 100 where the text goes elsewhere, so that it is the same everywhere."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


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
