"""Every path and name in the map exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / "docs" / "architecture.md"
CODE = sorted(set(re.findall(r"`([^`\s]+)`", MAP.read_text(encoding="utf-8"))))
PATHS = [
    code for code in CODE if re.match(r"(lmtools|tests|tools|docs|recipes|evals|data|benchmarks)/", code)
]
NAMES = [code for code in CODE if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*\.[A-Za-z_]+", code) and not (
    re.search(r"\.(jsonl?|yaml|py|md)$", code)
)]  # fmt: skip


def definitions(module):
    """The names that a module defines at its top."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def test_the_map_names_something():
    assert len(PATHS) > 20
    assert len(NAMES) > 30


@pytest.mark.parametrize("path", PATHS)
def test_paths_of_the_map_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_map_are_defined_where_it_says(name):
    module, _, attribute = name.rpartition(".")
    assert attribute in definitions(ROOT / "lmtools" / f"{module.replace('.', '/')}.py")


def test_the_readme_links_to_the_map():
    assert "docs/architecture.md" in (ROOT / "README.md").read_text(encoding="utf-8")
