"""A corpus that only a search service has: its passages outlive the process that found them."""

import pytest
from loopback import serving
from pydantic import ValidationError

from lmtools.core.errors import RetrieverError
from lmtools.core.journal import Journal
from lmtools.leret.inputs import KeptPassages
from lmtools.leret.recipe import LeretRecipe
from lmtools.retrieval.config import HttpConfig
from lmtools.retrieval.open import open_retriever


def service(handler, body):
    hit = {"id": "7", "title": "Lund", "score": 1.0, "text": "Lund is a city."}
    return {"results": [[hit] for _ in body["queries"]]}


def test_a_passage_found_before_is_shown_without_asking_again(tmp_path):
    with serving(service) as url, Journal(tmp_path / "passages.jsonl") as journal:
        kept = KeptPassages(open_retriever(HttpConfig(url=url), None), journal)
        assert kept.search(["a", "b"], 1)[1][0].title == "Lund"
        kept.search(["c"], 1)
        assert len(journal) == 1
    bare = open_retriever(HttpConfig(url=url), None)
    with Journal(tmp_path / "passages.jsonl") as journal:
        assert KeptPassages(bare, journal).passage("7").text == "Lund is a city."
        with pytest.raises(RetrieverError, match="no text for the passage '8'"):
            KeptPassages(bare, journal).passage("8")


def test_only_a_service_does_without_a_corpus():
    with pytest.raises(ValidationError, match="the bm25 retriever needs a corpus"):
        LeretRecipe.model_validate({"data": {"corpus": None}})
    retriever = {"kind": "http", "url": "http://127.0.0.1:1/search"}
    assert LeretRecipe.model_validate({"data": {"corpus": None}, "retriever": retriever}).data.corpus is None
