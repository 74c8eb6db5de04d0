"""Fixtures every test may use: a cache of its own, the real data where it is, a tiny random Llama."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from tiny import save_tiny_llama

settings.register_profile("lmtools", deadline=None)  # other work on the machine must fail no test
settings.load_profile("lmtools")

# `model.dtype: auto` is one precision in all tests, on whatever processor; tests about it take this away.
os.environ["LMTOOLS_DTYPE"] = "float32"
CHECKOUT = Path(__file__).resolve().parent.parent


def pytest_runtest_setup(item):
    if item.get_closest_marker("vllm") and find_spec("vllm") is None:
        pytest.skip("needs vLLM: run `make test-vllm`")


@pytest.fixture(autouse=True)
def own_cache(request, monkeypatch, tmp_path_factory):
    """Every test gets an empty cache; ``slow`` ones keep the real one, where the built-in model lies."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("LMTOOLS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: ``$LMTOOLS_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("LMTOOLS_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data sets: set LMTOOLS_DATA to their folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """A directory with a random two-layer Llama and a byte-level chat tokenizer, loadable by transformers."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))
