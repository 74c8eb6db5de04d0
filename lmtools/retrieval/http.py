"""A search service of the user's own, behind the Retriever protocol.

The request is a POST of JSON, the answer a ranking for each query, in the order of the queries:

    {"queries": ["who wrote ...", ...], "k": 3}
    {"results": [[{"id": "12", "title": "Siri Remote", "score": 7.5, "text": "..."}, ...], ...]}

``id`` and ``title`` are strings, ``score`` a finite number, higher is better. ``text`` is optional where a
local corpus is given as well. More than ``k`` hits are cut after sorting by (-score, id).
"""

from collections.abc import Sequence
from os import environ
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lmtools.core.errors import LmtoolsError, RetrieverError
from lmtools.core.http import JsonClient, Service, Text, error_text, parse, shown_address
from lmtools.core.strings import without_secrets
from lmtools.data.records import Passage
from lmtools.retrieval.config import HttpConfig
from lmtools.retrieval.corpus import Corpus, content_key
from lmtools.retrieval.protocol import Hit

FORMAT = '{"results": [[{"id": "...", "title": "...", "score": 1.0}, ...], ...]}'
SERVICE = Service(
    error=RetrieverError,
    address="retriever.url",
    key="put the service's token into an environment variable and name it in retriever.headers_env",
    relief="raise retriever.timeout or lower retriever.batch_size",
)


class _ServiceHit(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    id: Annotated[Text, Field(min_length=1)]
    title: Text
    score: Annotated[float, Field(allow_inf_nan=False)]
    text: Text | None = None


def _distinct(hits: list[_ServiceHit]) -> list[_ServiceHit]:
    if len({hit.id for hit in hits}) < len(hits):
        raise ValueError("an id occurs twice")
    return hits


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    results: list[Annotated[list[_ServiceHit], AfterValidator(_distinct)]]


class HttpRetriever:
    """The ``http`` backend.

    ``identity`` names the address and the corpus; what stands behind the address may change all the same.

    Args:
        config: address, time-out, retries.
        corpus: where the text of hits is looked up; None if the service sends it.

    Raises:
        LmtoolsError: the address is none, or an environment variable that should hold a header is not set.
    """

    def __init__(self, config: HttpConfig, corpus: Corpus | None) -> None:
        self._config = config
        self._corpus = corpus
        headers = {name: _variable(name, variable) for name, variable in config.headers_env.items()}
        self._client = JsonClient(
            config.url, SERVICE, timeout=config.timeout, retries=config.retries, headers=headers
        )
        self._seen: dict[str, Passage] = {}
        address = without_secrets(config.url)
        self.identity = f"http:{content_key(address, corpus.identity if corpus else '')}"

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        hits: list[list[Hit]] = []
        if k <= 0:
            return [[] for _ in queries]
        for start in range(0, len(queries), self._config.batch_size):
            hits += self._request(list(queries[start : start + self._config.batch_size]), k)
        return hits

    def passage(self, id: str) -> Passage:
        if self._corpus is not None:
            return self._corpus.find(id)
        if id in self._seen:
            return self._seen[id]
        raise RetrieverError(
            f"{shown_address(self._config.url)} sent no text for the passage {id!r}",
            fix='let the service add "text" to its hits, or set `corpus:` to a file with the passages',
        )

    def _request(self, queries: list[str], k: int) -> list[list[Hit]]:
        body = self._client.post(self._config.url, {"queries": queries, "k": k})
        answer = parse_answer(self._config.url, body, len(queries))
        for hit in (hit for hits in answer for hit in hits if hit.text is not None):
            self._seen[hit.id] = Passage(id=hit.id, title=hit.title, text=hit.text or "")
        return [_ranked(hits, k) for hits in answer]


def parse_answer(url: str, body: bytes, queries: int) -> list[list[_ServiceHit]]:
    """The rankings in a service's answer.

    Raises:
        RetrieverError: not JSON, not of the documented form, another number of rankings than of queries, a
            score that is no finite number, or a ranking with an id twice.
    """
    try:
        results = parse(_Answer, body).results
        if len(results) != queries:
            raise ValueError(f"{len(results)} rankings for {queries} queries\n  it sent: {error_text(body)}")
    except ValueError as error:
        raise RetrieverError(
            f"{shown_address(url)} answered with something that is no result list: {error}",
            fix=f"let the service answer {FORMAT}, one list per query",
        ) from error
    return results


def _ranked(hits: Sequence[_ServiceHit], k: int) -> list[Hit]:
    best = sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]
    return [Hit(hit.id, hit.title, hit.score) for hit in best]


def _variable(header: str, variable: str) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise LmtoolsError(
            f"retriever.headers_env: the header {header} comes from the environment variable {variable}, "
            "which is not set",
            fix=f"export {variable}=...",
        )
    return value
