"""Imports point one way, and nothing heavy is imported at the top of a module that help must reach."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lmtools"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "vllm",
    "faiss",
    "sentence_transformers",
}
LIGHT = ("core", "cli", "data", "metrics")


def layers() -> dict[str, int]:
    """Package name -> its rank in the import-linter contract, 0 at the bottom."""
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    rows = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return {
        name.strip().removeprefix("lmtools."): rank
        for rank, row in enumerate(reversed(rows))
        for name in row.split("|")
    }


def imports(path: Path, top_level: bool = False) -> set[str]:
    """Dotted names that a module imports, anywhere in it or only when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_one_way(path):
    rank = layers()
    mine = path.relative_to(PACKAGE).parts[0]
    if mine not in rank:
        assert path.parent == PACKAGE
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "lmtools" and len(parts) > 1 and parts[1] != mine and parts[1] in rank:
            assert rank[parts[1]] < rank[mine], f"{mine} must not import {name}"


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= layers().keys()


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in LIGHT],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_light_packages_import_nothing_heavy_at_the_top(path):
    assert {name.split(".")[0] for name in imports(path, top_level=True)}.isdisjoint(HEAVY)


def test_the_core_loads_without_torch():
    names = [
        f"lmtools.core.{path.stem}" for path in (PACKAGE / "core").glob("*.py") if path.stem != "__init__"
    ]
    code = (
        f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
        "print(sorted(sys.modules))"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert HEAVY.isdisjoint(ast.literal_eval(loaded))
