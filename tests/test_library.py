"""lmtools as a library: what the packages offer, that it costs nothing to import, and that examples work."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from imported import HEAVY, modules_after
from small_world import write_recipe
from tiny_fit import tiny_recipe as tiny_ats
from tiny_hyre import tiny_recipe as tiny_hyre

import lmtools
from lmtools.core.recipe import dump_recipe

PACKAGE = Path(lmtools.__file__).parent
PACKAGES = ("ats", "hyre", "leret")
OFFERED = [
    (package, name) for package in PACKAGES for name in importlib.import_module(f"lmtools.{package}").__all__
]


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def documented(tree):
    """Every definition of a module that has a docstring, methods too, and the module itself."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ">>>" in (text := ast.get_docstring(node) or ""):
            yield getattr(node, "name", "the module"), getattr(node, "lineno", 1), text


EXAMPLES = [
    (module_name(path), name, line, text)
    for path in sorted(PACKAGE.rglob("*.py"))
    for name, line, text in documented(ast.parse(path.read_text(encoding="utf-8")))
]


@pytest.fixture(scope="session")
def world(tiny_llama, tmp_path_factory):
    """A folder as the examples find it: recipes that take seconds, and a finished run of each system."""
    from lmtools.ats import run_fit
    from lmtools.hyre import run_training as train_rewards
    from lmtools.leret import run_training as train_queries

    folder = tmp_path_factory.mktemp("examples")
    write_recipe(folder / "world", tiny_llama, {"hop.max_query_tokens": 16})
    (folder / "world" / "recipe.yaml").rename(folder / "my-leret.yaml")
    (folder / "my-ats.yaml").write_text(dump_recipe(tiny_ats(tiny_llama, folder, train={"epochs": 1})))
    (folder / "my-hyre.yaml").write_text(dump_recipe(tiny_hyre(tiny_llama, folder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        run_fit("my-ats.yaml", "runs/ats-fit", ["head.kind=linear", "compare=[]"])
        train_rewards("my-hyre.yaml", "runs/hyre-train")
        train_queries("my-leret.yaml", "runs/leret-train", ["train.preference.enabled=false"])
    return folder


def of_models(text):
    """Whether an example works on the folder that ``world`` makes."""
    return "runs/" in text or ".yaml" in text


@pytest.mark.parametrize(
    ("module", "name", "line", "text"), EXAMPLES, ids=[f"{module}:{name}" for module, name, _, _ in EXAMPLES]
)
def test_examples_in_docstrings(request, module, name, line, text, monkeypatch):
    if of_models(text):
        folder = request.getfixturevalue("world")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
    if "vllm" in module.rpartition(".")[2]:
        pytest.importorskip("vllm", reason="needs vLLM")
    assert "+SKIP" not in text
    loaded = importlib.import_module(module)
    test = doctest.DocTestParser().get_doctest(text, dict(vars(loaded)), name, loaded.__file__, line)
    told = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert tried
    assert not failed, "".join(told)


@pytest.mark.parametrize(("package", "name"), OFFERED)
def test_what_is_offered_is_documented_with_an_example(package, name):
    found = getattr(importlib.import_module(f"lmtools.{package}"), name)
    text = inspect.getdoc(found) or ""
    assert ">>>" in text, f"lmtools.{package}.{name} has no example"
    assert len(text.partition(">>>")[0].strip()) > 20
    assert (found.__module__, found.__name__) in {(module, own) for module, own, _, _ in EXAMPLES}


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_is_offered(package):
    """The imports under TYPE_CHECKING, the table of the lazy ones and ``__all__`` are one and the same."""
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    [choice] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {node.module: sorted(alias.name for alias in node.names) for node in choice.body}
    [table] = [node for node in ast.walk(choice) if isinstance(node, ast.Dict)]
    assert {module: sorted(names) for module, names in ast.literal_eval(table).items()} == seen
    offered = importlib.import_module(f"lmtools.{package}").__all__
    assert sorted(offered) == sorted(name for names in seen.values() for name in names)
    assert set(offered) <= set(dir(importlib.import_module(f"lmtools.{package}")))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_a_modules_which_would_take_its_place(package):
    modules = {path.stem for path in (PACKAGE / package).iterdir()}
    assert modules.isdisjoint(importlib.import_module(f"lmtools.{package}").__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_cheap_to_import(package):
    loaded = modules_after(f"import lmtools.{package}")
    assert loaded.isdisjoint({*HEAVY, "numpy", "pydantic"})


def test_lmtools_itself_imports_nothing():
    code = "import sys; before = set(sys.modules); import lmtools; print(sorted(set(sys.modules) - before))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['lmtools']"


def test_an_unknown_name_is_an_attribute_error():
    import lmtools.ats

    with pytest.raises(AttributeError, match=r"module 'lmtools\.ats' has no attribute 'fits'"):
        lmtools.ats.fits  # noqa: B018
    with pytest.raises(ImportError):
        from lmtools.ats import fits  # noqa: F401


def test_a_module_of_a_package_is_still_imported_by_name():
    code = "from lmtools.hyre import heads, reweight; print(heads.__name__, reweight.__name__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["lmtools.hyre.heads", "reweight"]


def test_the_marker_of_types_is_in_the_wheel():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["lmtools"]
    assert (PACKAGE / "py.typed").is_file()
    makefile = (PACKAGE.parent / "Makefile").read_text()
    assert "grep -q lmtools/py.typed dist/contents" in makefile
