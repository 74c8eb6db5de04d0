"""One client for every HTTP service: what it sends, what it tries again, and how it fails."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from loopback import cut_off, hang, in_turn, serving, trickle

from lmtools.core import http
from lmtools.core.errors import BackendError, LmtoolsError, RetrieverError
from lmtools.core.http import JsonClient, Service, error_text

SERVICE = Service(error=BackendError, address="x.url", key="name the API key", relief="raise x.timeout")


@pytest.fixture
def pauses(monkeypatch):
    """The seconds it would have slept."""
    slept = []
    monkeypatch.setattr(http, "sleep", slept.append)
    return slept


class Asked:
    """A client of a server that gives ``answers`` in turn, and what the server was sent."""

    def __init__(self, *answers):
        self.requests, self._answer = [], in_turn(*answers)

    def __call__(self, handler, body):
        self.requests.append((handler.command, handler.path, dict(handler.headers), body))
        return self._answer(handler, body)

    def post(self, body="x", service=SERVICE, **settings):
        with serving(self) as url:
            client = JsonClient(url + "/v1", service, **{"timeout": 5.0, "retries": 2} | settings)
            return client.post("/search", body)

    def fails(self, service=SERVICE, **settings):
        with pytest.raises(service.error) as caught:
            self.post(service=service, **settings)
        return caught.value


def test_what_is_sent_and_what_comes_back():
    asked = Asked((200, {}, b"any bytes \xff"))
    body = {"queries": ["Who?", "na\u00efve \ud800\x00"]}
    assert asked.post(body, headers={"Authorization": "Bearer secret"}) == b"any bytes \xff"
    ((command, path, headers, received),) = asked.requests
    assert (command, path, received) == ("POST", "/v1/search", body)
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer secret"


def test_get_has_no_body_and_an_absolute_address_stands_for_itself():
    asked = Asked([1])
    with serving(asked) as url:
        client = JsonClient(url + "/v1/", SERVICE)
        assert client.base == url + "/v1"
        assert client.get("/models") == b"[1]"
        client.post(url + "/tokenize/", {})
        client.close()
    assert [request[:2] for request in asked.requests] == [("GET", "/v1/models"), ("POST", "/tokenize/")]
    assert asked.requests[0][3] is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(status, pauses, capsys):
    asked = Asked((status, {}, b"busy"), (status, {}, b""), (200, {}, b"done"))
    assert asked.post() == b"done"
    assert len(asked.requests) == 3
    assert asked.requests[0][3] == asked.requests[2][3]
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1.0
    assert f"HTTP {status}: busy; trying again in 0." in capsys.readouterr().err


def test_it_waits_as_long_as_asked(pauses):
    Asked((429, {"Retry-After": "3"}, b"{}"), (503, {"Retry-After": "86400"}, b"{}"), []).post()
    assert pauses == [3.0, 60.0]


def test_a_lasting_500_names_address_answer_attempts_and_mend(pauses):
    asked = Asked((500, {}, b'{"error": {"message": "no\\nupstream"}}'))
    fault = asked.fails()
    assert fault.message.startswith("http://127.0.0.1:")
    assert "/v1/search answered HTTP 500: no\\nupstream (3 attempts)" in fault.message
    assert "x.url" in fault.fix
    assert fault.exit_code == 1
    assert len(asked.requests) == 3


@pytest.mark.parametrize(
    ("status", "headers", "fix"),
    [
        (400, {}, "x.url"),
        (404, {}, "x.url"),
        (401, {}, "name the API key"),
        (403, {}, "name the API key"),
        (302, {"Location": "/other"}, "set x.url to the address it redirects to: /other"),
        (304, {}, "x.url"),
    ],
)
def test_a_lasting_fault_is_not_tried_again(status, headers, fix):
    asked = Asked((status, headers, b"" if status == 304 else b"prompt too long"))
    fault = asked.fails()
    assert f"HTTP {status}: " in fault.message
    assert status == 304 or "prompt too long" in fault.message
    assert fix in fault.fix
    assert len(asked.requests) == 1


@pytest.mark.parametrize("fault", [hang, trickle])
def test_an_answer_that_does_not_end_in_time(fault, pauses):
    asked = Asked(fault)
    caught = asked.fails(timeout=0.3, retries=1)
    assert "gave no answer within 0.3 s (2 attempts)" in caught.message
    assert "raise x.timeout" in caught.fix
    assert len(asked.requests) == 2


def test_an_answer_that_is_cut_off_is_asked_for_again(pauses):
    asked = Asked(cut_off, (200, {}, b"whole"))
    assert asked.post() == b"whole"
    assert len(asked.requests) == 2


def test_an_answer_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER", 1000)
    asked = Asked((200, {}, b" " * 100_000))
    assert "sent more than" in asked.fails().message
    assert len(asked.requests) == 1


def test_nobody_listens(pauses):
    with serving(in_turn([])) as url:
        pass
    with pytest.raises(BackendError, match="cannot be reached") as caught:
        JsonClient(url, SERVICE, retries=1).get("/models")
    assert url in caught.value.message
    assert caught.value.exit_code == 1
    assert len(pauses) == 1


def test_the_caller_chooses_the_error():
    service = Service(error=RetrieverError, address="a.b", key="", relief="")
    assert "a.b" in Asked((404, {}, b"")).fails(service).fix


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost:8000",
        "ftp://host/x",
        "http://",
        "http://[oops/",
        "http://127.0.0.1:eight/v1",
        "http://a..b/",
        f"http://{'a' * 64}/",
    ],
)
def test_an_address_that_is_none_is_the_users_error(address):
    with pytest.raises(LmtoolsError, match=r"x\.url: .* is not an address") as caught:
        JsonClient(address, SERVICE)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "too long"),
        (b'{"detail": "not found"}', "not found"),
        (b'{"object": "error", "message": "no such model"}', "no such model"),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (b'{"error": 5}', '{"error": 5}'),
        (b"[1]", "[1]"),
        (b"", "(nothing)"),
        (b"stack trace\nof\x1b[2J", "stack trace\\nof\\x1b[2J"),
        (b'{"error": "\\ud800"}', "\\ud800"),
        (b"x" * 201, "x" * 200 + "..."),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_said_finds_the_message(body, message):
    assert error_text(body) == message


def test_a_fault_without_words_is_called_by_its_name(monkeypatch, pauses):
    def reset(*_, **__):
        raise httpx.ReadError("")

    monkeypatch.setattr(httpx.AsyncClient, "stream", reset)
    with pytest.raises(BackendError, match="the connection broke: ReadError"):
        JsonClient("http://127.0.0.1:1", SERVICE, retries=0).get("/")


@pytest.mark.parametrize(
    "headers",
    [{"Bad Name": "x"}, {"": "x"}, {"X": "a\nb"}, {"X": "caf\u00e9"}, {"X": "\ud800"}, {"X\r": "x"}],
)
def test_a_header_that_cannot_be_sent_is_the_users_error(headers):
    with pytest.raises(LmtoolsError, match="characters that no header may have") as caught:
        JsonClient("http://127.0.0.1:1", SERVICE, headers=headers)
    assert caught.value.fix == "name the API key"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"), [("HTTP_PROXY", "socks4://x:1"), ("SSL_CERT_FILE", "/nowhere/x.pem")]
)
def test_settings_of_the_network_that_cannot_be_used(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(LmtoolsError, match="settings in the environment cannot be used") as caught:
        JsonClient("http://127.0.0.1:1", SERVICE)
    assert name in caught.value.fix


def test_nothing_compressed_is_asked_for():
    asked = Asked([])
    asked.post()
    assert asked.requests[0][2]["Accept-Encoding"] == "identity"


def test_threads_share_a_client():
    with serving(lambda handler, body: body) as url:
        client = JsonClient(url, SERVICE)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: client.post("/", number), range(40)))
        client.close()
        client.close()
    assert answers == [str(number).encode() for number in range(40)]


def test_a_client_works_where_an_event_loop_runs_already():
    async def notebook():
        with serving(in_turn([1])) as url:
            return JsonClient(url, SERVICE).get("/")

    assert asyncio.run(notebook()) == b"[1]"
