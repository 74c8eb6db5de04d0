"""A recipe's YAML: safe loading, no key twice, the line on which each key stands, and writing it back."""

import re
from math import isfinite
from typing import Any

import yaml

from lmtools.core.errors import RecipeError
from lmtools.core.strings import cut, short, well_formed

KeyPath = tuple[str | int, ...]
OVERRIDE = "--set "
MAX_CHARACTERS = 200_000
"""Of a recipe; PyYAML reads some 200,000 a second."""
MAX_VALUES = 10_000
"""Values in a recipe, those that an alias repeats counted again."""
MAX_DEPTH = 50
"""Blocks and lists inside one another, and parts of a dotted key."""
PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)
"""What a recipe can hold: no bytes, sets or dates; ``2026-01-31`` is a text, as YAML 1.2 has it."""


class _Loader(yaml.SafeLoader):
    """Plain data only; a key given twice is an error, and ``1e-7`` is a number, as YAML 1.2 has it."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node.

        Raises:
            ConstructorError: it is none that a setting can have, or not what its tag says.
        """
        problem = ""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError):  # of PyYAML, on `!!bool x`
            problem = f"{short(str(node.value), 40)!r} is no {node.tag.rpartition(':')[2]}"
        else:
            if isinstance(value, float) and not isfinite(value):
                problem = f"{node.value} is no finite number"
            elif isinstance(value, int) and value.bit_length() > 63:
                problem = f"{cut(node.value, 40)} is too large a whole number"
            elif isinstance(value, str) and well_formed(value) != value:
                problem = f"{cut(ascii(value), 60)} holds half a character, which no file can"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "no block of settings", node.start_mark)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"the key {key!r} is not a text; quote it"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what ``_Loader`` reads back as it was."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these line breaks of other alphabets unquoted, and then reads them as blanks.
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag in PLAIN
}
_Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] in PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EXPONENT = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
for _format in (_Loader, _Dumper):
    _format.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def to_yaml(value: Any) -> str:
    """Plain data as YAML, keys in their order; ``parse_value`` gives the same data back."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def yaml_inline(value: Any) -> str:
    """Plain data on one line, as it may stand behind a key."""
    text = yaml.dump([value], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000,
                     default_flow_style=True)  # fmt: skip
    return str(text).strip()[1:-1]


def yaml_lines(key: str, value: Any) -> list[str]:
    """One setting as YAML; a list of plain values, or of blocks of them, stands on the key's own line."""
    flow = None if isinstance(value, list) and value else False
    text = yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000,
                     default_flow_style=flow)  # fmt: skip
    return str(text).splitlines()


def parse_value(text: str, source: str) -> Any:
    """Any YAML value.

    Raises:
        RecipeError: a syntax error, a key given twice, or more than a recipe can mean (``MAX_VALUES``,
            ``MAX_DEPTH``); ``source`` and the line are named.
    """
    try:
        _check_size(text)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else None
        problem = f"{error.problem} ({error.context})" if error.context else str(error.problem)
        cause: Exception = error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position))
        problem = f"{text[error.position]!a} cannot stand in YAML: write it escaped, quoted"
        cause = error
    where = source if line is None or source.startswith(OVERRIDE) else f"{source}:{line + 1}"
    raise RecipeError(f"{where}: {problem}", fix="mend the YAML") from cause


def _check_size(text: str) -> None:
    """Count what ``text`` would become, before anything is made of it.

    Raises:
        ComposerError: it is too large or too deep, or an alias stands inside what it names.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.composer.ComposerError(None, None, f"more than {MAX_CHARACTERS:,} characters", None)
    sizes: dict[str, int] = {}
    blocks: list[tuple[str | None, int]] = []  # the open ones: their anchor, and the values before them
    count = 0
    event: Any
    for event in yaml.parse(text, _Loader):
        problem = ""
        if isinstance(event, yaml.CollectionStartEvent):
            blocks.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = blocks.pop()
            sizes |= {anchor: count - before} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in blocks):
                problem = f"the alias *{event.anchor} stands inside what it names"
            count += sizes.get(str(event.anchor), 1)
        if count > MAX_VALUES:
            problem = f"more than {MAX_VALUES:,} values"
        if len(blocks) > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} blocks inside one another"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """A recipe's settings; an empty file has none.

    Raises:
        RecipeError: as ``parse_value``, or the text is not a mapping.
    """
    value = parse_value(text, source)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RecipeError(
            f"{source}: a recipe is `key: value` lines, not a {type(value).__name__}", fix="mend the YAML"
        )
    return value


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every key and list item, by its path; the text must be good YAML."""
    root = yaml.compose(text, _Loader)
    return dict(_walk(root, ())) if root is not None else {}


def _walk(node: yaml.Node, path: KeyPath) -> list[tuple[KeyPath, int]]:
    lines: list[tuple[KeyPath, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines.append(((*path, key.value), key.start_mark.line + 1))
            lines += _walk(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines.append(((*path, index), item.start_mark.line + 1))
            lines += _walk(item, (*path, index))
    return lines


# ``--set a.b=value``: change one setting of a recipe from the command line.


def as_given(override: str) -> str:
    """An override as messages name it: of a very long one the beginning.

    >>> as_given("seed=7")
    '--set seed=7'
    """
    return f"{OVERRIDE}{cut(override, 80)}"


def apply_override(data: dict[str, Any], override: str) -> tuple[KeyPath, dict[str, Any]]:
    """``data`` with one setting changed, and the path of that setting; ``data`` itself stays as it is.

    The value is read as YAML: ``explore.samples=4``, ``stop=["\\n"]``, ``model.adapter=null``.
    A block that is absent is made; a number in the key indexes a list that is there.

    Raises:
        RecipeError: no ``=``, an empty key, a value that is not YAML, or a key below a plain value.
    """
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if len(parts) > MAX_DEPTH:
        raise RecipeError(f"{as_given(override)}: more than {MAX_DEPTH} parts in the key")
    if not equals or not all(parts):
        raise RecipeError(f"{as_given(override)}: is not of the form key=value, such as model.dtype=float32")
    value = parse_value(text, as_given(override))
    path, changed = _replaced(data, tuple(parts), value, as_given(override), ())
    return path, changed


def _replaced(
    node: Any, parts: tuple[str, ...], value: Any, source: str, prefix: KeyPath
) -> tuple[KeyPath, Any]:
    """``node`` with ``value`` put at ``parts``, and the path to it (list positions as numbers).

    ``prefix`` is the path of ``node`` itself, ``source`` the override as messages name it. Blocks and lists
    on the way are copied, never changed: the recipe as it was read stays as it is.
    """
    if not parts:
        return prefix, value
    head, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if not head.isdecimal() or int(head) >= len(node):
            where = ".".join(map(str, prefix))
            raise RecipeError(f"{source}: {where} is a list of {len(node)}; {head!r} is not a place in it")
        index = int(head)
        path, item = _replaced(node[index], rest, value, source, (*prefix, index))
        return path, [*node[:index], item, *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        where = ".".join(map(str, prefix))
        raise RecipeError(f"{source}: {where} is {cut(repr(node), 60)}, which has no settings below it")
    block = node or {}
    path, item = _replaced(block.get(head), rest, value, source, (*prefix, head))
    return path, {**block, head: item}
