"""JSON sent to one HTTP service: a deadline, retries with back-off, errors that name address and mend.

``JsonClient`` is what the generation server and the search service are called with. A request that times out,
breaks off or is answered by one of ``TRANSIENT`` is sent again after ``pause_before``; any other answer but a
success is an error at once, with the service's own message (``error_text``) in it.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lmtools.core.errors import LmtoolsError, MachineError
from lmtools.core.progress import say

if TYPE_CHECKING:
    import httpx

LONGEST_PAUSE = 60.0
"""Seconds."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""
CONNECT_SECONDS = 10.0
MAX_ANSWER = 256 * 2**20
"""Bytes of an answer's body."""

# How long to wait before a failed request is sent again.


def pause_before(attempt: int, first: float, retry_after: str | None, chance: float) -> float:
    """Seconds to wait after failed attempt ``attempt`` (from 0): the service's Retry-After, or back-off.

    Back-off is ``first`` * 2**attempt, of whose second half the share ``chance`` in [0, 1) is waited, so that
    clients which failed together do not come back together. Never more than ``LONGEST_PAUSE``.
    """
    seconds = retry_seconds(retry_after)
    if seconds is not None:
        return min(seconds, LONGEST_PAUSE)
    return float(min(first * 2**attempt, LONGEST_PAUSE) * (0.5 + 0.5 * chance))


def retry_seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or an HTTP date, as seconds from now; None where it says nothing."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
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
        LmtoolsError: ``base`` is not an http or https address.
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
        self._service, self._timeout, self._retries, self._pause = service, timeout, retries, pause
        limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        self._client = httpx.Client(timeout=limits, headers=dict(headers or {}), follow_redirects=False)

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
        self._client.close()

    def _request(self, method: str, url: str, content: bytes | None) -> bytes:
        import httpx

        headers = {} if content is None else {"Content-Type": "application/json"}
        # An attempt ends in an answer, in an error that no repetition would mend, or in a ``failure``, after
        # which the next one follows.
        for attempt in range(self._retries + 1):
            retry_after: str | None = None
            deadline = monotonic() + self._timeout
            try:
                with self._client.stream(method, url, content=content, headers=headers) as answer:
                    received = self._read(answer, deadline)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = f"{url} cannot be reached: {str(error) or type(error).__name__}"
            except httpx.TimeoutException:
                failure = f"{url} gave no answer within {self._timeout:g} s"
            except httpx.HTTPError as error:
                failure = f"{url}: the connection broke: {str(error) or type(error).__name__}"
            else:
                if answer.is_success:
                    return received
                failure = f"{url} answered HTTP {answer.status_code}: {error_text(received)}"
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

    def _read(self, answer: "httpx.Response", deadline: float) -> bytes:
        """The whole body; the time-out of a read starts anew at every byte, so a trickle needs a deadline."""
        import httpx

        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise self._service.error(
                    f"{answer.url} sent more than {MAX_ANSWER >> 20} MiB", fix=self._service.relief
                )
            if monotonic() > deadline:
                raise httpx.ReadTimeout("")
        return bytes(body)

    def _mend(self, answer: "httpx.Response") -> str:
        if answer.status_code in (401, 403):
            return self._service.key
        if answer.has_redirect_location:
            return f"set {self._service.address} to the address it redirects to: {answer.headers['Location']}"
        return f"check {self._service.address}, and what the service says of the request"


def check_address(address: str, setting: str) -> None:
    """Hold ``address`` to be one that a request can be sent to.

    Raises:
        LmtoolsError: it is not.
    """
    import httpx

    try:
        httpx.URL(address)
        parts = urlsplit(address)  # finds brackets that do not match
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it names no host by http or https")
        parts.hostname.encode("idna")  # as the resolver does, which would fail with a bare UnicodeError
    except (httpx.InvalidURL, ValueError) as error:
        raise LmtoolsError(
            f"{setting}: {address!r} is not an address: {error}",
            fix="give one that starts with http:// or https://",
        ) from error


def error_text(content: bytes) -> str:
    """The message in an error's body, else the first 200 characters of the body; printable, on one line."""
    text = content.decode("utf-8", "replace").strip()
    message, longest = text or "(nothing)", 200
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    if value and isinstance(value, str):
        message, longest = value, 500
    printable = "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message[:longest]
    )
    return f"{printable}..." if len(message) > longest else printable
