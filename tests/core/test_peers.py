"""Whatever a peer does, a client returns the right value or says what is wrong: ``loopback.PEERS``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import FORM, LATE, LESS, PEERS, TIMEOUT, peer

from lmtools.core import http
from lmtools.core.errors import BackendError, LmtoolsError, RetrieverError
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.server import ServerGenerator
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.config import HttpConfig
from lmtools.retrieval.http import SERVICE as SEARCH
from lmtools.retrieval.http import HttpRetriever
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
