"""Opening a backend by its name."""

from weakref import ref

import pytest
from imported import HEAVY, modules_after
from loopback import serving

from lmtools.core.files import cache_dir
from lmtools.generation.cached import Cached
from lmtools.generation.hf import HfGenerator
from lmtools.generation.open import open_generator
from lmtools.generation.protocol import Sampling
from lmtools.generation.server import ServerGenerator
from lmtools.models.spec import ModelSpec


def test_hf_with_and_without_a_cache(tiny_llama):
    spec = ModelSpec(name=str(tiny_llama), device="cpu")
    bare = open_generator(spec, cache=False)
    assert isinstance(bare, HfGenerator)
    cached = open_generator(spec)
    assert isinstance(cached, Cached)
    assert cached.identity == bare.identity
    sampling = Sampling(max_tokens=4, temperature=1.0)
    assert cached.generate(["ab"], sampling, 3) == bare.generate(["ab"], sampling, 3)
    assert cached.generate(["ab"], sampling, 3) == bare.generate(["ab"], sampling, 3)
    assert len(list(cache_dir("generations").glob("*.sqlite"))) == 1
    for generator in (cached, cached, bare):
        generator.close()  # twice is once


def test_a_closed_generator_holds_no_model(tiny_llama):
    generator = open_generator(ModelSpec(name=str(tiny_llama), device="cpu"), cache=False)
    assert isinstance(generator, HfGenerator)
    generator.generate(["ab"], Sampling(max_tokens=1))
    model = ref(generator._model)
    generator.close()
    assert model() is None


@pytest.mark.parametrize("name", ["vllm", "server"])
def test_the_other_backends_are_asked_for_by_name(monkeypatch, name):
    if name == "server":
        monkeypatch.setattr(ServerGenerator, "__init__", lambda self, spec: None)
        assert isinstance(open_generator(ModelSpec(backend="server"), cache=False), ServerGenerator)
        return
    from lmtools.generation import vllm

    monkeypatch.setattr(vllm.VllmGenerator, "__init__", lambda self, spec: None)
    assert isinstance(open_generator(ModelSpec(backend="vllm"), cache=False), vllm.VllmGenerator)


def test_a_servers_answers_are_never_cached():
    """Another model may stand behind the same address and name by now."""
    weights = ["old"]

    def answer(handler, body):
        if handler.path == "/v1/models":
            return {"data": [{"id": "m"}]}
        return {"choices": [{"text": weights[0], "finish_reason": "stop"}]}

    with serving(answer) as url:
        spec = ModelSpec(name="m", backend="server", server_url=f"{url}/v1")
        before = open_generator(spec).generate(["p"], Sampling())
        weights[0] = "new"
        after = open_generator(spec).generate(["p"], Sampling())
    assert [before[0][0].text, after[0][0].text] == ["old", "new"]
    assert not list(cache_dir("generations").glob("*"))


def test_opening_imports_no_backend():
    assert modules_after("import lmtools.generation.open").isdisjoint(HEAVY)
