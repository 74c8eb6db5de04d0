"""A search service of the user's own, behind the protocol."""

import math

import pytest
from loopback import cut_off, hang, serving, trickle

from lmtools.core.errors import LmtoolsError, RetrieverError
from lmtools.data.records import Passage
from lmtools.retrieval.config import HttpConfig
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Hit

A, B, C = (
    {"id": id, "title": f"title {id}", "score": score} for id, score in (("a", 2), ("b", 1.5), ("c", 1.5))
)


class Service:
    """A search service that answers from a list, and what it was sent."""

    def __init__(self):
        self.answers, self.requests, self.url = [], [], ""

    def __call__(self, handler, body):
        self.requests.append((dict(handler.headers), body))
        given = self.answers.pop(0)
        return given(handler) if callable(given) else given

    def will(self, answer, status=200, **headers):
        if isinstance(answer, bytes):
            answer = status, headers, answer
        self.answers.append(answer)


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr("lmtools.core.http.sleep", lambda seconds: None)
    service = Service()
    with serving(service) as url:
        service.url = f"{url}/search"
        yield service


def opened(service, corpus=None, **settings):
    return open_retriever(HttpConfig(url=service.url, **{"timeout": 5, "retries": 2} | settings), corpus)


def test_request_and_answer(service):
    service.will({"results": [[C, B, A], []]})
    hits = opened(service).search(["Who?", "naïve \ud800"], 2)
    assert hits == [[Hit("a", "title a", 2.0), Hit("b", "title b", 1.5)], []]
    headers, body = service.requests[0]
    assert body == {"queries": ["Who?", "naïve \ud800"], "k": 2}
    assert headers["Content-Type"] == "application/json"


def test_batches_keep_the_order_of_the_queries(service):
    for hit in (A, B, C):
        service.will({"results": [[hit]] * (2 if hit is not C else 1)})
    hits = opened(service, batch_size=2).search(["1", "2", "3", "4", "5"], 3)
    assert [found[0].id for found in hits] == ["a", "a", "b", "b", "c"]
    assert [body["queries"] for _, body in service.requests] == [["1", "2"], ["3", "4"], ["5"]]


def test_no_query_or_no_hit_wanted_asks_nothing(service):
    assert opened(service).search([], 3) == []
    assert opened(service).search(["x"], 0) == [[]]
    assert service.requests == []


def test_header_from_the_environment(service, monkeypatch):
    monkeypatch.setenv("SEARCH_TOKEN", "Bearer secret")
    service.will({"results": [[]]})
    opened(service, headers_env={"Authorization": "SEARCH_TOKEN"}).search(["x"], 1)
    assert service.requests[0][0]["Authorization"] == "Bearer secret"


def test_passage_from_the_service_or_the_corpus(service, planets):
    service.will({"results": [[{**A, "text": "a text"}, B]]})
    alone = opened(service)
    alone.search(["x"], 2)
    assert alone.passage("a") == Passage(id="a", title="title a", text="a text")
    with pytest.raises(RetrieverError, match="sent no text for the passage 'b'") as caught:
        alone.passage("b")
    assert '"text"' in caught.value.fix
    assert opened(service, planets).passage("7") == planets[3]


@pytest.mark.parametrize(
    ("status", "headers", "fix"),
    [
        (500, {}, "retriever.url"),
        (404, {}, "retriever.url"),
        (401, {}, "headers_env"),
        (302, {"Location": "/other"}, "retriever.url to the address it redirects to: /other"),
    ],
)
def test_a_fault_names_the_settings_that_mend_it(service, status, headers, fix):
    for _ in range(3):
        service.will(b"stack trace\nof the service", status, **headers)
    with pytest.raises(RetrieverError, match=f"HTTP {status}") as caught:
        opened(service).search(["x"], 1)
    assert service.url in caught.value.message
    assert "stack trace\\nof the service" in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("fault", [hang, trickle])
def test_hanging_service(service, fault):
    service.will(fault)
    service.will(fault)
    with pytest.raises(RetrieverError, match=r"no answer within 0\.3 s") as caught:
        opened(service, timeout=0.3, retries=1).search(["x"], 1)
    assert "retriever.timeout" in caught.value.fix
    assert len(service.requests) == 2


def test_answer_that_is_cut_off_is_asked_for_again(service):
    service.will(cut_off)
    service.will({"results": [[A]]})
    assert opened(service).search(["x"], 1)[0][0].id == "a"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"<html>Welcome</html>", "<html>Welcome"),
        (b"\xff\xfe\x00", "it sent"),
        (b"", r"\(nothing\)"),
        ([[]], "it sent"),
        ({"hits": []}, "results: Field required"),
        ({"results": {"0": []}}, "results"),
        ({"results": [[], []]}, "2 rankings for 1 queries"),
        ({"results": []}, "0 rankings for 1 queries"),
        ({"results": [[{"id": "a", "title": "t"}]]}, r"results\.0\.0\.score: Field required"),
        ({"results": [[{"id": "a", "score": 1}]]}, r"results\.0\.0\.title"),
        ({"results": [[{"id": 7, "title": "t", "score": 1}]]}, r"results\.0\.0\.id"),
        ({"results": [[{"id": "", "title": "t", "score": 1}]]}, r"results\.0\.0\.id"),
        ({"results": [[{"id": "a", "title": "t", "score": math.nan}]]}, r"results\.0\.0\.score"),
        ({"results": [[{"id": "a", "title": "t", "score": math.inf}]]}, r"results\.0\.0\.score"),
        ({"results": [[{"id": "a", "title": "t", "score": "high"}]]}, r"results\.0\.0\.score"),
        ({"results": [["a"]]}, r"results\.0\.0"),
        ({"results": [[A, A]]}, "an id occurs twice"),
    ],
)
def test_garbage_is_shown_and_not_tried_again(service, answer, fault):
    service.will(answer)
    with pytest.raises(RetrieverError, match=fault) as caught:
        opened(service).search(["x"], 1)
    assert service.url in caught.value.message
    assert '"results"' in caught.value.fix
    assert len(service.requests) == 1


def test_address_that_is_none():
    with pytest.raises(LmtoolsError, match=r"retriever\.url: .* is not an address") as caught:
        open_retriever(HttpConfig(url="http://[oops/", retries=0), None)
    assert caught.value.exit_code == 2


def test_identity_depends_on_address_and_corpus(service, planets):
    identities = {
        opened(service).identity,
        opened(service, planets).identity,
        open_retriever(HttpConfig(url=service.url + "2"), None).identity,
    }
    assert len(identities) == 3
