"""``--set a.b=value``: change one setting of a recipe from the command line."""

from typing import Any

from lmtools.core.errors import RecipeError
from lmtools.core.recipe_yaml import KeyPath, parse_value


def apply_override(data: dict[str, Any], override: str) -> tuple[KeyPath, dict[str, Any]]:
    """``data`` with one setting changed, and the path of that setting; ``data`` itself stays as it is.

    The value is read as YAML: ``explore.samples=4``, ``stop=["\\n"]``, ``model.adapter=null``.
    A block that is absent is made; a number in the key indexes a list that is there.

    Raises:
        RecipeError: no ``=``, an empty key, a value that is not YAML, or a key below a plain value.
    """
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"--set {override}: is not of the form key=value, such as model.dtype=float32")
    value = parse_value(text, f"--set {override}")
    path, changed = _replaced(data, tuple(parts), value, f"--set {override}", ())
    return path, changed


def _replaced(
    node: Any, parts: tuple[str, ...], value: Any, place: str, done: KeyPath
) -> tuple[KeyPath, Any]:
    """``node`` with ``value`` put at ``parts``, and the path to it (list positions as numbers)."""
    if not parts:
        return done, value
    head, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if not head.isdecimal() or int(head) >= len(node):
            where = ".".join(map(str, done))
            raise RecipeError(f"{place}: {where} is a list of {len(node)}; {head!r} is not a place in it")
        index = int(head)
        path, item = _replaced(node[index], rest, value, place, (*done, index))
        return path, [*node[:index], item, *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        where = ".".join(map(str, done))
        raise RecipeError(f"{place}: {where} is {node!r}, which has no settings below it")
    block = node or {}
    path, item = _replaced(block.get(head), rest, value, place, (*done, head))
    return path, {**block, head: item}
