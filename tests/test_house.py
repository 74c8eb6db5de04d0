"""Names are the field's, and no import closes a circle."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import lmtools

PACKAGE = Path(lmtools.__file__).parent
PRIVATE = {
    "found", "own", "one", "known", "told", "asked", "wanted", "some", "both", "others", "made", "shown",
    "place",
}  # fmt: skip
"""They say how a thing came about, or which of several it is, and nothing of what it is."""
MOST = 0.003
"""Of all names of arguments and variables."""


def bound_names(tree):
    """Every argument and every variable that is assigned to, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def test_names_say_what_a_thing_is():
    names, private = Counter(), []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, line in bound_names(ast.parse(path.read_text(encoding="utf-8"))):
            names[name] += 1
            if name in PRIVATE:
                private.append(f"{path.relative_to(PACKAGE.parent)}:{line} {name}")
    assert len(private) < MOST * names.total(), "\n".join(private)


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree, modules):
    """The modules of the package that a file imports anywhere, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_import_closes_a_circle():
    modules = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    packages = {name for name, path in modules.items() if path.name == "__init__.py"}
    graph = {
        name: {
            target
            for target in imported(ast.parse(path.read_text(encoding="utf-8")), modules)
            if target in modules and target not in packages and target != name
        }
        for name, path in modules.items()
        if name not in packages
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
