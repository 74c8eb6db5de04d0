"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import lmtools.leret

MODULES = [f"lmtools.leret.{module.name}" for module in pkgutil.iter_modules(lmtools.leret.__path__)]


@pytest.mark.parametrize("name", [*MODULES, "lmtools.metrics.answers"])
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
