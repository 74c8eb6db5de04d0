"""Whatever a peer does, a client returns the right value or says what is wrong: ``loopback.PEERS``."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import FORM, LATE, LESS, PEERS, TIMEOUT, peer

from lmtools.core import http
from lmtools.core.errors import BackendError, LmtoolsError, ModelError, RetrieverError
from lmtools.core.http import error_text
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.server import Models, Served, ServerGenerator, choose_model, parse
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.config import HttpConfig
from lmtools.retrieval.http import HttpRetriever, parse_answer
from lmtools.retrieval.protocol import Hit

HIT = {"id": "a", "title": "Lund", "score": 1.5}
CHOICE = {"text": " Lund", "finish_reason": "stop"}
MODELS = b'{"data": [{"id": "m"}]}'


def search(url, timeout=9.0):
    client = HttpRetriever(HttpConfig(url=url, timeout=timeout, retries=0), None)
    try:
        return client.search(["Where?"], 1)
    finally:
        client._client.close()


def generate(url, timeout=9.0):
    spec = ModelSpec(name="m", server_url=f"{url}/v1", backend="server")
    generator = ServerGenerator(spec, timeout=timeout, retries=0)
    try:
        return generator.generate(["Where?"], Sampling(max_tokens=4))
    finally:
        generator.close()


def models(path):
    """What a server that generates says of its models; None of anything else."""
    return MODELS if path == "/v1/models" else None


MENDS = {
    "search": {FORM: 'let the service answer {"results": ', LESS: "lower retriever.batch_size"},
    "generate": {FORM: "check that model.server_url is the address of an", LESS: "ask for fewer tokens"},
}
CLIENTS = {
    "search": (search, {"results": [[HIT]]}, [[Hit("a", "Lund", 1.5)]], RetrieverError),
    "generate": (generate, {"choices": [CHOICE]}, [[Completion(" Lund")]], BackendError),
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_peer(client, name, monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER", 2**20)
    call, body, value, error = CLIENTS[client]
    behaviour = PEERS[name]
    with peer(behaviour.play, json.dumps(body).encode(), models) as url:
        if not behaviour.sentence:
            assert call(url) == value
            return
        with pytest.raises(error) as caught:
            call(url, TIMEOUT if behaviour.sentence == LATE else 9.0)
    message, fix = caught.value.message, caught.value.fix
    assert message.startswith(url)
    assert behaviour.sentence in message
    assert MENDS[client].get(behaviour.fix, behaviour.fix) in fix
    assert len(message) < 800
    assert all(letter.isprintable() or letter == "\n" for letter in message + fix)


# Answers that are JSON, and wrong: each with the field or the sentence that names the fault.


class Scripted(ServerGenerator):
    """A generator whose server answers every request for a completion with ``reply``."""

    def __init__(self, reply, owned_by="someone"):
        self._model, self._vllm, self._concurrency = "m", owned_by == "vllm", 1
        self._http = Replies(reply)


class Replies:
    """What stands in for the connection: the bytes of the answers."""

    base = "http://peer/v1"

    def __init__(self, reply):
        self._reply = reply if isinstance(reply, bytes) else json.dumps(reply).encode()

    def get(self, path):
        return self._reply

    def post(self, path, body):
        return b'{"tokens": [65]}' if path.endswith("/tokenize") else self._reply


def choice(**fields):
    return {"choices": [{"text": "x", "finish_reason": "stop"} | fields]}


def logprobs(**fields):
    return choice(logprobs=fields)


NAN, INFINITE = float("nan"), float("inf")
COMPLETIONS = {
    "no choice": ({"choices": []}, "choices: "),
    "two choices": ({"choices": choice()["choices"] * 2}, "choices: "),
    "choices as an object": ({"choices": {"0": {}}}, "choices: "),
    "a choice that is a text": ({"choices": ["x"]}, "choices.0: "),
    "a chat": ({"choices": [{"message": {"content": "x"}}]}, "choices.0.text: "),
    "text that is null": (choice(text=None), "choices.0.text: "),
    "text that is a number": (choice(text=5), "choices.0.text: "),
    "text that is a list": (choice(text=["x"]), "choices.0.text: "),
    "no reason to end": (choice(finish_reason=None), "finish_reason None"),
    "another reason to end": (choice(finish_reason="\x1b[2J" * 99), r"finish_reason '\x1b[2J"),
    "a reason that is a number": (choice(finish_reason=0), "choices.0.finish_reason: "),
    "tokens that are texts": (choice(token_ids=["7"]), "choices.0.token_ids.0: "),
    "tokens that are true": (choice(token_ids=[True]), "choices.0.token_ids.0: "),
    "a token below 0": (choice(token_ids=[-1]), "choices.0.token_ids.0: "),
    "a token of 400 digits": (choice(token_ids=[10**400]), "choices.0.token_ids.0: "),
    "+500": (logprobs(token_logprobs=[500]), "token_logprobs.0: a log-probability is at most 0, not 500.0"),
    "+0.01": (
        logprobs(token_logprobs=[-1, 0.01]),
        "token_logprobs.1: a log-probability is at most 0, not 0.01",
    ),
    "NaN": (logprobs(token_logprobs=[NAN]), "choices.0.logprobs.token_logprobs.0: "),
    "-Infinity": (logprobs(token_logprobs=[-INFINITE]), "choices.0.logprobs.token_logprobs.0: "),
    "Infinity": (logprobs(token_logprobs=[INFINITE]), "choices.0.logprobs.token_logprobs.0: "),
    "-1e999": (
        b'{"choices": [{"text": "", "logprobs": {"token_logprobs": [-1e999]}}]}',
        "token_logprobs.0: ",
    ),
    "400 digits": (logprobs(token_logprobs=[-(10**400)]), "choices.0.logprobs.token_logprobs.0: "),
    "a number in quotes": (logprobs(token_logprobs=["-0.5"]), "choices.0.logprobs.token_logprobs.0: "),
    "false": (logprobs(token_logprobs=[False]), "choices.0.logprobs.token_logprobs.0: "),
    "a number in place of a list": (logprobs(token_logprobs=-0.5), "choices.0.logprobs.token_logprobs: "),
    "some null": (logprobs(token_logprobs=[-0.5, None]), "1 log-probabilities for 2 tokens"),
    "fewer than tokens": (
        choice(token_ids=[7, 8], logprobs={"token_logprobs": [-0.5]}),
        "1 log-probabilities for 2 tokens",
    ),
    "more than tokens": (
        choice(token_ids=[7], logprobs={"token_logprobs": [-0.5, -0.5]}),
        "2 log-probabilities for 1 tokens",
    ),
    "lists of two lengths": (
        logprobs(token_logprobs=[-0.5], text_offset=[0, 1]),
        "choices.0.logprobs: entries differ in number: {'token_logprobs': 1, 'text_offset': 2}",
    ),
    "a field with escapes": (
        logprobs(top_logprobs=[{"\x1b[2J\u202e": 5}]),
        r"top_logprobs.0.\x1b[2J\u202e: a log-probability is at most 0, not 5.0",
    ),
    "a field of 5000 letters": (logprobs(top_logprobs=[{"y" * 5000: "z"}]), "top_logprobs.0.yyy"),
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_a_wrong_completion_is_refused_by_its_field(name):
    reply, sentence = COMPLETIONS[name]
    with pytest.raises(BackendError, match=r"^http://peer/v1") as caught:
        Scripted(reply).generate(["p"], Sampling(max_tokens=4))
    assert sentence in caught.value.message
    assert "--backend hf" in caught.value.fix
    assert len(caught.value.message) < 800
    assert all(letter.isprintable() or letter == "\n" for letter in caught.value.message)


@pytest.mark.parametrize(
    ("reply", "completion"),
    [
        (choice(text="a\ud800b\udfff"), Completion("a\ufffdb\ufffd")),
        (choice(text="\U0001f600"), Completion("\U0001f600")),
        (choice(token_ids=None, logprobs=None), Completion("x")),
        (logprobs(token_logprobs=None, top_logprobs=None, text_offset=None), Completion("x")),
        (logprobs(token_logprobs=[None, None]), Completion("x")),
        (logprobs(token_logprobs=[-3, 0.0005, -0.5]), Completion("x", (), (-3.0, 0.0, -0.5))),
        (choice(more=NAN) | {"usage": 10**400}, Completion("x")),
        (
            b'{"choices": 1, "choices": [{"text": "x", "text": "y", "finish_reason": "stop"}]}',
            Completion("y"),
        ),
    ],
)
def test_an_odd_completion_is_read(reply, completion):
    assert Scripted(reply).generate(["p"], Sampling(max_tokens=4)) == [[completion]]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((500, -1), "top_logprobs.0. A: a log-probability is at most 0, not 500.0"),
        ((NAN, -1), "top_logprobs.0. A: a log-probability is at most 0, not nan"),
        (("-1", -1), "top_logprobs.0. A: "),
        (
            (-INFINITE, -INFINITE),
            "does not return probabilities of the options: what it returns adds up to 0",
        ),
        ((-9999, -9999.5), "does not return probabilities of the options: what it returns adds up to 0"),
        ((-0.1, -0.2), "does not return probabilities of the options: what it returns adds up to 1.72"),
    ],
)
def test_impossible_options_are_refused(values, sentence):
    reply = logprobs(top_logprobs=[dict(zip((" A", " B"), values, strict=True))])
    with pytest.raises(BackendError) as caught:
        Scripted(reply).options(["p"], [" A", " B"])
    assert sentence in caught.value.message


def test_one_option_may_be_impossible_and_one_certain():
    reply = logprobs(top_logprobs=[{" A": 0.0001, " B": -INFINITE}])
    assert Scripted(reply).options(["p"], [" B", " A", " A"]) == [(-INFINITE, 0.0, 0.0)]


def echo(values, offsets, text="pA"):
    return choice(text=text, logprobs={"token_logprobs": values, "text_offset": offsets})


def rows(*values):
    return choice(prompt_logprobs=[value and {"65": {"logprob": value}} for value in values])


@pytest.mark.parametrize(
    ("owned_by", "reply", "sentence"),
    [
        ("someone", echo([None], [0, 1]), "choices.0.logprobs: entries differ in number"),
        ("someone", echo([None, None], [0, 1]), "log-probabilities of an echoed prompt, one for each token"),
        ("someone", echo([], [0, 1]), "log-probabilities of an echoed prompt"),
        ("someone", echo([None, 0.5], [0, 1]), "token_logprobs.1: a log-probability is at most 0, not 0.5"),
        ("someone", echo([None, -0.5], [0, 1.0]), "text_offset.1: "),
        ("vllm", rows(None), "log-probabilities of the prompt, one for each token"),
        ("vllm", rows(None, -0.5, -0.5), "log-probabilities of the prompt, one for each token"),
        ("vllm", rows(None, None), "log-probabilities of the prompt, one for each token"),
        ("vllm", rows(None, 0.5), "prompt_logprobs.1.65.logprob: a log-probability is at most 0, not 0.5"),
        ("vllm", rows(None, -INFINITE), "prompt_logprobs.1.65.logprob: "),
        ("vllm", choice(prompt_logprobs=[None, {"y": {"logprob": -1}}]), "prompt_logprobs.1.y.[key]: "),
    ],
)
def test_impossible_scores_are_refused(owned_by, reply, sentence):
    with pytest.raises(BackendError) as caught:
        Scripted(reply, owned_by).score([("p", "A")])
    assert sentence in caught.value.message


def test_scores_that_can_be_are_read():
    assert Scripted(echo([None, -0.5], [0, 1])).score([("p", "A")]) == [(-0.5,)]
    assert Scripted(echo([None, -0.5], [0, 1], "\ufffdA")).score([("\ud800", "A")]) == [(-0.5,)]
    assert Scripted(rows(None, -0.5), "vllm").score([("p", "A")]) == [(-0.5,)]


@pytest.mark.parametrize(
    ("hit", "sentence"),
    [
        ({"score": NAN}, "results.0.0.score: "),
        ({"score": -INFINITE}, "results.0.0.score: "),
        ({"score": "7.5"}, "results.0.0.score: "),
        ({"score": True}, "results.0.0.score: "),
        ({"score": None}, "results.0.0.score: "),
        ({"score": 10**400}, "results.0.0.score: "),
        ({"id": 7}, "results.0.0.id: "),
        ({"id": ""}, "results.0.0.id: "),
        ({"title": None}, "results.0.0.title: "),
        ({"title": ["x"]}, "results.0.0.title: "),
        ({"text": 5}, "results.0.0.text: "),
    ],
)
def test_a_wrong_hit_is_refused_by_its_field(hit, sentence):
    body = json.dumps({"results": [[HIT | hit]]}).encode()
    with pytest.raises(RetrieverError, match=r"^http://peer") as caught:
        parse_answer("http://peer/search", body, 1)
    assert sentence in caught.value.message


def test_texts_of_hits_can_be_written():
    hit = {"id": "a\ud800", "title": "\udc00", "text": "\ud83d\ude00\ud83d", "score": -1, "more": NAN}
    [[read]] = parse_answer("http://peer", json.dumps({"results": [[hit]]}).encode(), 1)
    assert (read.id, read.title, read.text, read.score) == ("a\ufffd", "\ufffd", "\U0001f600\ufffd", -1.0)


def test_served_names_reach_no_terminal_as_they_are():
    with pytest.raises(ModelError) as caught:
        choose_model([Served(id="\x1b[2J"), Served(id="\u202e" + "b" * 9999)], "m", strict=True)
    assert r"it serves \x1b[2J, \u202ebbb" in caught.value.message
    assert len(caught.value.message) < 700


# Whatever it is: a value, or an error that the user can mend.

LEAF = st.sampled_from(
    ["\ud800", "", "\x1b[2J", None, True, -1, 500.0, 10**400, 2**31, NAN, INFINITE, -INFINITE]
)
ODD = st.recursive(
    LEAF | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WHOLE = [
    choice(
        token_ids=[65],
        logprobs={"token_logprobs": [-1.0], "top_logprobs": [{" A": -1.0, "token_id:65": -1.0}]},
    ),
    echo([None, -0.5], [0, 1]),
    rows(None, -0.5),
    {"results": [[HIT | {"text": "x"}]]},
    {"data": [{"id": "m", "owned_by": "vllm"}]},
]


def replaced(value, path, odd):
    """``value`` with what stands at ``path``, as far as it goes, in another form."""
    if path and isinstance(value, dict) and value:
        name = sorted(value)[path[0] % len(value)]
        return value | {name: replaced(value[name], path[1:], odd)}
    if path and isinstance(value, list) and value:
        at = path[0] % len(value)
        return [*value[:at], replaced(value[at], path[1:], odd), *value[at + 1 :]]
    return odd


NEAR = st.builds(
    replaced, st.sampled_from(WHOLE), st.lists(st.integers(0, 5), min_size=3, max_size=6), LEAF | ODD
)


@settings(max_examples=1000)
@given(reply=st.binary(max_size=30) | st.one_of(ODD, NEAR).map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_a_value_or_an_error_to_mend(reply):
    for owned_by in ("vllm", "someone"):
        generator = Scripted(reply, owned_by)
        for call in (
            lambda generator=generator: generator.generate(["p"], Sampling(max_tokens=4))[0][0].text.encode(),
            lambda generator=generator: generator.score([("p", "A")]),
            lambda generator=generator: generator.options(["p"], [" A"]),
        ):
            with suppress(LmtoolsError):
                call()
    with suppress(LmtoolsError):
        for hit in parse_answer("http://peer", reply, 1)[0]:
            f"{hit.id}{hit.title}{hit.text}".encode()
    with suppress(LmtoolsError):
        choose_model(parse(Models, reply, "http://peer").data, "m").id.encode()
    error_text(reply).encode()
