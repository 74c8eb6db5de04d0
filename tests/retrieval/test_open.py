import pytest
from imported import HEAVY, modules_after
from pydantic import TypeAdapter, ValidationError

from lmtools.core.config import Config
from lmtools.core.errors import DataError, LmtoolsError
from lmtools.retrieval import config as configs
from lmtools.retrieval.config import Bm25Config, DenseConfig, HttpConfig, HybridConfig, RetrieverConfig
from lmtools.retrieval.open import open_retriever

adapter = TypeAdapter(RetrieverConfig)


def test_kind_decides_which_settings_there_are():
    assert adapter.validate_python({"kind": "bm25", "k1": 1.2}) == Bm25Config(k1=1.2)
    assert adapter.validate_python({"kind": "dense", "index": "ivf"}) == DenseConfig(index="ivf")
    hybrid = adapter.validate_python({"kind": "hybrid", "members": [{"kind": "bm25"}, {"kind": "rank-bm25"}]})
    assert [member.kind for member in hybrid.members] == ["bm25", "rank-bm25"]


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"kind": "bm25", "encoder": "x"}, ("bm25", "encoder")),
        ({"kind": "rank-bm25", "method": "lucene"}, ("rank-bm25", "method")),
        ({"kind": "http", "url": "http://x", "k1": 1}, ("http", "k1")),
        ({"kind": "http"}, ("http", "url")),
        ({"kind": "http", "url": "file:///etc/passwd"}, ("http", "url")),
        ({"kind": "hybrid", "members": [{"kind": "bm25"}]}, ("hybrid", "members")),
        ({"kind": "hybrid", "members": [{"kind": "hybrid"}, {"kind": "bm25"}]}, ("hybrid", "members", 0)),
        ({"kind": "bm25", "b": 1.5}, ("bm25", "b")),
        ({"kind": "bm26"}, ()),
        ({"k1": 1.5}, ()),
    ],
)
def test_settings_that_do_not_fit(settings, place):
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(settings)
    assert caught.value.errors()[0]["loc"] == place


def test_every_setting_is_described():
    blocks = [
        block for block in vars(configs).values() if isinstance(block, type) and issubclass(block, Config)
    ]
    for block in blocks:
        assert block.__doc__
        for name, field in block.model_fields.items():
            assert name == "kind" or field.description, f"{block.__name__}.{name}"


@pytest.mark.parametrize("config", [Bm25Config(), DenseConfig(), HybridConfig()])
def test_a_corpus_is_needed(config):
    with pytest.raises(DataError, match=f"{config.kind} searches a corpus"):
        open_retriever(config, None)


def test_header_from_an_unset_variable(monkeypatch):
    monkeypatch.delenv("SEARCH_TOKEN", raising=False)
    config = HttpConfig(url="http://127.0.0.1:1", headers_env={"Authorization": "SEARCH_TOKEN"})
    with pytest.raises(LmtoolsError, match="SEARCH_TOKEN, which is not set"):
        open_retriever(config, None)
    monkeypatch.setenv("SEARCH_TOKEN", "two\nlines")
    with pytest.raises(LmtoolsError, match="characters that no header may have"):
        open_retriever(config, None)


def test_backends_are_imported_only_when_asked_for():
    loaded = modules_after("import lmtools.retrieval.open")
    assert loaded.isdisjoint(HEAVY | {"bm25s", "rank_bm25"})
