import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lmtools.core.errors import RetrieverError
from lmtools.data.records import Passage
from lmtools.retrieval import post
from lmtools.retrieval.config import HttpConfig
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Hit

A, B, C = (
    {"id": id, "title": f"title {id}", "score": score} for id, score in (("a", 2), ("b", 1.5), ("c", 1.5))
)


class Service:
    """A search service on loopback that answers from a list of (status, body or function, headers)."""

    def __init__(self):
        self.answers, self.requests = [], []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.requests.append((dict(self.headers), json.loads(body)))
                status, answer, headers = service.answers.pop(0)
                if callable(answer):
                    answer(self)
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/search"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def will(self, answer, status=200, **headers):
        if not isinstance(answer, bytes) and not callable(answer):
            answer = json.dumps(answer).encode()
        self.answers.append((status, answer, headers))

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(post, "FIRST_WAIT", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    service = Service()
    yield service
    service.close()


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


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_fault_is_tried_again(service, status):
    service.will(b"busy", status)
    service.will(b"busy", status)
    service.will({"results": [[A]]})
    assert opened(service).search(["x"], 1)[0][0].id == "a"
    assert len(service.requests) == 3


def test_lasting_500_names_address_answer_and_mend(service):
    for _ in range(3):
        service.will(b"stack trace\nof the service", 500)
    with pytest.raises(RetrieverError) as caught:
        opened(service).search(["x"], 1)
    assert service.url in caught.value.message
    assert "HTTP 500" in caught.value.message
    assert "stack trace\\nof the service" in caught.value.message
    assert "3 tries" in caught.value.message
    assert caught.value.exit_code == 1
    assert caught.value.fix


@pytest.mark.parametrize(
    ("status", "headers", "fix"),
    [(404, {}, "retriever.url"), (401, {}, "headers_env"), (302, {"Location": "/other"}, "/other")],
)
def test_lasting_fault_is_not_tried_again(service, status, headers, fix):
    service.will(b"no", status, **headers)
    with pytest.raises(RetrieverError, match=f"HTTP {status}") as caught:
        opened(service).search(["x"], 1)
    assert fix in caught.value.fix
    assert len(service.requests) == 1


def hang(handler):
    time.sleep(1.5)


def trickle(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def cut_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"results"')


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


def test_nobody_listens(service):
    service.close()
    with pytest.raises(RetrieverError, match="cannot be reached") as caught:
        opened(service, retries=0).search(["x"], 1)
    assert service.url in caught.value.message


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
    with pytest.raises(RetrieverError, match="no valid address"):
        open_retriever(HttpConfig(url="http://[oops/", retries=0), None).search(["x"], 1)


def test_endless_answer(service, monkeypatch):
    monkeypatch.setattr(post, "MAX_ANSWER", 1000)
    service.will(b" " * 100_000)
    with pytest.raises(RetrieverError, match="sent more than"):
        opened(service).search(["x"], 1)


def test_identity_depends_on_address_and_corpus(service, planets):
    identities = {
        opened(service).identity,
        opened(service, planets).identity,
        open_retriever(HttpConfig(url=service.url + "2"), None).identity,
    }
    assert len(identities) == 3
