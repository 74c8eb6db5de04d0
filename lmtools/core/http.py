"""JSON sent to one HTTP service: a deadline, retries with back-off, errors that name address and mend.

``JsonClient`` is what the generation server and the search service are called with. A request that times out,
breaks off or is answered by one of ``TRANSIENT`` is sent again after ``pause_before``; any other answer but a
success is an error at once, with the service's own message (``error_text``) in it. ``parse`` makes an answer
a checked value.
"""

import asyncio
import json
import random
import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ValidationError

from lmtools.core.errors import LmtoolsError, MachineError
from lmtools.core.progress import say
from lmtools.core.strings import MASK, cut, printable, well_formed, without_secrets

if TYPE_CHECKING:
    import httpx

LONGEST_PAUSE = 60.0
"""Seconds."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""
CONNECT_SECONDS = 10.0
MAX_ANSWER = 256 * 2**20
"""Bytes of an answer's body."""
MAX_ERROR = 64 * 2**10
"""Bytes of a body in which an error's message is looked for."""
COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})
"""Content encodings, none of which is asked for: a few bytes can stand for any number."""
HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")

Result = TypeVar("Result")

# How long to wait before a failed request is sent again.


def pause_before(attempt: int, first: float, retry_after: str | None, chance: float) -> float:
    """Seconds to wait after failed attempt ``attempt`` (from 0): the service's Retry-After, or back-off.

    Back-off is ``first`` * 2**attempt, of whose second half the share ``chance`` in [0, 1) is waited, so that
    clients which failed together do not come back together. Never more than ``LONGEST_PAUSE``.
    """
    seconds = retry_seconds(retry_after)
    if seconds is not None:
        return min(seconds, LONGEST_PAUSE)
    return float(min(first * 2.0 ** min(attempt, 100), LONGEST_PAUSE) * (0.5 + 0.5 * chance))


def retry_seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or an HTTP date, as seconds from now; None where it says nothing."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # a year, an hour or a zone that no calendar has
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


# The client.


@dataclass(frozen=True)
class Service:
    """How a service appears in its errors.

    Args:
        error: what to raise when it fails.
        address: the setting that holds its address.
        key: how to give it a key, as an instruction.
        relief: what helps where it is slow or sends too much, as an instruction.
    """

    error: type[MachineError]
    address: str
    key: str
    relief: str


class JsonClient:
    """Talks to the service at ``base``; may be shared by threads.

    Redirects are not followed: they would turn a POST into a GET, and take the headers (a key) elsewhere.

    Args:
        base: the address that paths are appended to.
        service: how errors speak of it.
        timeout: seconds from the request to the last byte of the answer; at most ``CONNECT_SECONDS`` of
            them for a connection.
        retries: further attempts after a time-out, a broken connection or one of ``TRANSIENT``.
        pause: seconds before the first further attempt, doubled for each one after it.
        headers: sent with every request.

    Raises:
        LmtoolsError: ``base`` is not an http or https address, or a header cannot be sent.
    """

    def __init__(
        self,
        base: str,
        service: Service,
        *,
        timeout: float = 120.0,
        retries: int = 5,
        pause: float = 0.5,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        import httpx

        self.base = base.rstrip("/")
        check_address(base, service.address)
        for name, value in (headers or {}).items():
            if not (HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
                raise LmtoolsError(
                    f"the header {name!r}, or its value, holds characters that no header may have",
                    fix=service.key,
                )
        self._service, self._timeout, self._retries, self._pause = service, timeout, retries, pause
        try:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
                headers={"Accept-Encoding": "identity", **(headers or {})},
                follow_redirects=False,
            )
        except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
            raise LmtoolsError(
                f"the network's settings in the environment cannot be used: {error}",
                fix="look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
            ) from error

    def get(self, path: str) -> bytes:
        """The body of the answer at ``path``.

        Raises:
            MachineError: ``service.error``, with the address and what happened at the last attempt.
        """
        return self._request("GET", self.base + path, None)

    def post(self, path: str, body: Any) -> bytes:
        """The body of the answer to ``body``, sent to ``path`` as JSON; an absolute URL stands for itself.

        Raises:
            MachineError: ``service.error``, with the address and what happened at the last attempt.
        """
        # ASCII escapes: lone surrogates have no UTF-8 form.
        content = json.dumps(body).encode("ascii")
        return self._request("POST", path if path.startswith("http") else self.base + path, content)

    def close(self) -> None:
        """Close the connections."""
        _wait(self._client.aclose())

    def _request(self, method: str, url: str, content: bytes | None) -> bytes:
        import httpx

        address = shown_address(url)
        # An attempt ends in an answer, in an error that no repetition would mend, or in a ``failure``, after
        # which the next one follows.
        for attempt in range(self._retries + 1):
            retry_after: str | None = None
            try:
                answer, received = _wait(self._attempt(method, url, content))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = f"{address} cannot be reached: {_reason(error)}"
            except (TimeoutError, httpx.TimeoutException):
                failure = f"{address} gave no answer within {self._timeout:g} s"
            except httpx.HTTPError as error:
                failure = f"{address}: the connection broke: {_reason(error)}"
            else:
                if answer.is_success:
                    return received
                failure = f"{address} answered HTTP {answer.status_code}: {error_text(received)}"
                if answer.status_code not in TRANSIENT:
                    raise self._service.error(failure, fix=self._mend(answer))
                retry_after = answer.headers.get("Retry-After")
            if attempt < self._retries:
                pause = pause_before(attempt, self._pause, retry_after, random.random())
                say(f"{failure}; trying again in {pause:.1f} s")
                sleep(pause)
        raise self._service.error(
            f"{failure} ({self._retries + 1} attempts)",
            fix=f"check that the service runs and that {self._service.address} is its address; "
            f"if it is slow, {self._service.relief}",
        )

    async def _attempt(self, method: str, url: str, content: bytes | None) -> tuple["httpx.Response", bytes]:
        """The answer's head and body; all of it, name look-up and handshake included, has one deadline."""
        headers = {} if content is None else {"Content-Type": "application/json"}
        async with (
            asyncio.timeout(self._timeout),
            self._client.stream(method, url, content=content, headers=headers) as answer,
        ):
            encoding = answer.headers.get("Content-Encoding", "")
            if answer.is_success and COMPRESSED & set(re.split(r"[\s,]+", encoding.lower())):
                raise self._service.error(
                    f"{shown_address(url)} sent its answer compressed ({printable(encoding)}), though it was "
                    "asked not to",
                    fix="let the service, or a proxy before it, heed `Accept-Encoding: identity`",
                )
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise self._service.error(
                        f"{shown_address(url)} sent more than {MAX_ANSWER >> 20} MiB",
                        fix=self._service.relief,
                    )
            return answer, bytes(body)

    def _mend(self, answer: "httpx.Response") -> str:
        if answer.status_code in (401, 403):
            return self._service.key
        if answer.has_redirect_location:
            location = cut(shown_address(answer.headers["Location"]), 500)
            return f"set {self._service.address} to the address it redirects to: {location}"
        return f"check {self._service.address}, and what the service says of the request"


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all clients, in a thread of its own, since a notebook's thread has one already.

    Blocking reads know only a time-out for each, which a peer that sends a byte at a time never meets; what
    runs on a loop can be given a deadline as a whole.
    """
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="lmtools-http", daemon=True).start()
    return loop


def _wait(work: Coroutine[Any, Any, Result]) -> Result:
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    finally:
        future.cancel()  # where Ctrl-C ended the wait


def _reason(error: BaseException) -> str:
    """The first cause of an error, which the layers above it only call a failed attempt."""
    while cause := getattr(error, "exceptions", [error.__cause__ or error.__context__])[0]:
        error = cause
    return cut(printable(str(error)) or type(error).__name__, 200)


def shown_address(url: str) -> str:
    """A URL as messages show it: without secrets, and in letters that a terminal shows."""
    return printable(without_secrets(url))


def check_address(address: str, setting: str) -> None:
    """Hold ``address`` to be one that a request can be sent to.

    Raises:
        LmtoolsError: it is not.
    """
    import httpx

    if MASK in address:
        raise LmtoolsError(
            f"{setting}: the secrets in {address} are not kept in a run",
            fix=f"give the whole address again: --set {setting}=ADDRESS",
        )
    try:
        httpx.URL(address)
        parts = urlsplit(address)  # finds brackets that do not match
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it names no host by http or https")
        parts.hostname.encode("idna")  # as the resolver does, which would fail with a bare UnicodeError
    except (httpx.InvalidURL, ValueError) as error:
        raise LmtoolsError(
            f"{setting}: {shown_address(address)!r} is not an address: {error}",
            fix="give one that starts with http:// or https://",
        ) from error


# What a service sends, as text and as values.

Text = Annotated[str, AfterValidator(well_formed)]
"""A text from a peer, as UTF-8 can write it."""
Reply = TypeVar("Reply", bound=BaseModel)


def parse(kind: type[Reply], content: bytes) -> Reply:
    """The JSON in ``content`` as ``kind``.

    Raises:
        ValueError: it is not JSON, or has another shape; names the first field that is wrong.
    """
    try:
        return kind.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the answer"
        fault = f"{cut(field, 200)}: {first['msg'].removeprefix('Value error, ')}"
    except json.JSONDecodeError:
        fault = "not JSON"
    except UnicodeDecodeError:
        fault = "not JSON: its text is not UTF-8"
    except RecursionError:
        fault = "its JSON is nested too deep"
    except ValueError:
        fault = "its JSON has a number of more digits than can be read"
    raise ValueError(f"{printable(fault)}\n  it sent: {error_text(content)}")


def error_text(content: bytes) -> str:
    """The message in an error's body, else the first 200 characters of the body; printable, on one line."""
    text = content[:MAX_ERROR].decode("utf-8", "replace").strip()
    message, longest = text or "(nothing)", 200
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    if value and isinstance(value, str):
        message, longest = value, 500
    line = printable(message[:longest]).replace("\n", r"\n").replace("\t", r"\t")
    return f"{line}..." if len(message) > longest else line
