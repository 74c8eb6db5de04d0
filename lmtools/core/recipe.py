"""Recipes: a YAML file, plus ``--set`` overrides, becomes one frozen and fully checked configuration.

A recipe is named by its path, or by its name if it ships with lmtools (``leret/quickstart``). Each opens with
a comment that holds its own command line, then a line that says what it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lmtools.core.config import Config
from lmtools.core.errors import RecipeError
from lmtools.core.files import bundled
from lmtools.core.recipe_faults import describe_faults
from lmtools.core.recipe_yaml import MAX_CHARACTERS, apply_override, as_given, key_lines, parse_yaml, to_yaml
from lmtools.core.strings import cut, secrets_masked

__all__ = [
    "RecipeInfo",
    "dump_recipe",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "parse_yaml",
    "read_recipe",
    "recipe_system",
]

T = TypeVar("T", bound=Config)
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class RecipeInfo:
    """A packaged recipe: its name, the system it belongs to, its command line and what it does."""

    name: str
    system: str
    command: str
    summary: str
    path: Path


def load_recipe(schema: type[T], ref: str | None, overrides: Sequence[str] = (), *, default: str) -> T:
    """The configuration of a recipe.

    Args:
        schema: the model it must fit.
        ref: a path, or the name of a packaged recipe; None takes ``default``.
        overrides: ``a.b=value`` each, the value read as YAML; a number in the key indexes a list.

    Raises:
        RecipeError: every fault of the file and of the overrides, a line each.
    """
    path = find_recipe(ref or default)
    text = read_recipe(path)
    data = parse_yaml(text, str(path))
    locations: dict[tuple[str | int, ...], str] = {
        keys: f"{path}:{line}" for keys, line in key_lines(text).items()
    }
    locations[()] = str(path)
    faults: list[str] = []
    if "system" not in schema.model_fields:
        data.pop("system", None)
    before, changes = data, {}
    for override in overrides:
        try:
            keys, data = apply_override(data, override)
            changes[keys] = as_given(override)
        except RecipeError as error:
            faults.append(error.message)
    if "system" in schema.model_fields:
        _same_system(ref or default, data, schema.model_fields["system"].default)
    try:
        config = schema.model_validate(data)
    except ValidationError as error:
        faults += describe_faults(schema, error, locations, changes, before)
    if faults:
        raise RecipeError(
            "\n".join(faults), fix="mend the lines above; `lmtools recipes show NAME` prints a good one"
        )
    return config


RUNS = {"leret": "leret train", "hyre": "hyre train", "ats": "ats fit", "calibration": "eval calibration",
        "reward": "eval reward"}  # fmt: skip
"""The command that a system's recipes are for."""


def _same_system(ref: str, data: Mapping[str, Any], expected: Any) -> None:
    """Tell of a recipe of another system in one sentence: hardly one of its settings would be known.

    Raises:
        RecipeError: it is one.
    """
    system = data.get("system", expected)
    if system != expected and isinstance(system, str) and system in RUNS:
        raise RecipeError(
            f"{ref}: a recipe for {system}, and one for {expected} is needed here",
            fix=f"`lmtools {RUNS[system]} --recipe {ref}` takes it; `lmtools recipes ls` lists the others",
        )


def find_recipe(ref: str) -> Path:
    """The file behind a recipe's path or name.

    Raises:
        RecipeError: there is none; near names are suggested.
    """
    path = Path(ref).expanduser()
    if path.is_file():
        return path
    packaged = bundled("recipes", *f"{ref}.yaml".split("/"))
    if not ref.endswith(SUFFIXES) and packaged.is_file():
        return packaged
    names = [info.name for info in list_recipes()]
    near = get_close_matches(ref.removesuffix(".yaml"), names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    what = "no such file" if ref.endswith(SUFFIXES) else "no recipe of this name and no such file"
    raise RecipeError(f"{ref}: {what}{hint}", fix="`lmtools recipes ls` lists the packaged recipes")


def list_recipes() -> list[RecipeInfo]:
    """The packaged recipes, by name; one that is not YAML is listed without a system."""
    root = bundled("recipes")
    infos = []
    for path in sorted(root.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        command, summary = _header(text)
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            system = recipe_system(path)
        except RecipeError:
            system = ""
        infos.append(RecipeInfo(name, system, command, summary, path))
    return infos


def recipe_system(path: Path) -> str:
    """The system a recipe says it is for; empty where it does not say.

    Raises:
        RecipeError: the file is not YAML, or what it says is no text.
    """
    text = read_recipe(path)
    system = parse_yaml(text, str(path)).get("system", "")
    if not isinstance(system, str):
        line = key_lines(text)[("system",)]
        raise RecipeError(
            f"{path}:{line}: system: should be a text (given: {cut(repr(system), 60)})",
            fix=f"one of {', '.join(RUNS)}",
        )
    return system


def dump_recipe(config: Config) -> str:
    """A configuration as YAML, every default spelled out; loading it gives the same one, less the secrets in
    addresses."""
    return to_yaml(secrets_masked(config.model_dump(mode="json")))


def read_recipe(path: Path) -> str:
    """The text of a recipe's file.

    Raises:
        RecipeError: it cannot be read, or is not UTF-8.
    """
    try:
        if path.stat().st_size > 4 * MAX_CHARACTERS:
            raise RecipeError(f"{path}: too large for a recipe", fix="name a YAML file of settings")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})", fix="save it as UTF-8") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}", fix="check the path") from error


def _header(text: str) -> tuple[str, str]:
    """The command line and the summary from the comment at the top; a command may go on after a backslash."""
    comments: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("# ").rstrip()
        if comments and comments[-1].endswith("\\"):
            comments[-1] = f"{comments[-1][:-1].rstrip()} {words}"
        elif words:
            comments.append(words)
    return (*comments, "", "")[0], (*comments, "", "")[1]
