"""JSON over HTTP to one service: time-outs, retries with back-off, and errors that name the address."""

import json
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from lmtools.core.errors import LmtoolsError, MachineError

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_PAUSE = 60.0


class JsonClient:
    """Talks JSON to the service at ``base``; may be shared by threads.

    Args:
        base: the address that paths are appended to.
        error: what to raise when the service fails.
        fix: the mend to print when it cannot be reached or keeps failing.
        timeout: seconds to wait for an answer; 10 of them at most for a connection.
        retries: further attempts after a time-out, a broken connection or one of ``TRANSIENT``.
        pause: seconds before the first further attempt, doubled for each one after it.

    Raises:
        LmtoolsError: ``base`` is not an http or https address.
    """

    def __init__(
        self,
        base: str,
        *,
        error: type[MachineError],
        fix: str,
        timeout: float = 120.0,
        retries: int = 5,
        pause: float = 0.5,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        import httpx

        self.base = base.rstrip("/")
        self._error, self._fix, self._retries, self._pause = error, fix, retries, pause
        if not self.base.startswith(("http://", "https://")):
            raise LmtoolsError(
                f"{base!r} is not an address", fix="give one that starts with http:// or https://"
            )
        limits = httpx.Timeout(timeout, connect=min(timeout, 10.0))
        self._client = httpx.Client(timeout=limits, headers=dict(headers or {}))

    def get(self, path: str) -> Any:
        """The JSON value at ``path``."""
        return self._request("GET", self.base + path, None)

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to ``body`` sent to ``path``; an absolute URL stands for itself."""
        return self._request("POST", path if path.startswith("http") else self.base + path, body)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, method: str, url: str, body: Any) -> Any:
        import httpx

        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        for attempt in range(self._retries + 1):
            wait: str | None = None
            try:
                answer = self._client.request(method, url, content=content, headers=headers)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise LmtoolsError(f"{url} is not an address: {error}", fix=self._fix) from error
            except httpx.TimeoutException:
                failure = f"{url} did not answer in time"
            except httpx.HTTPError as error:
                failure = f"{url} cannot be reached: {error or type(error).__name__}"
            else:
                if answer.is_success:
                    return self._decode(url, answer.content)
                failure = f"{url} answered {answer.status_code}: {said(answer.content)}"
                if answer.status_code not in TRANSIENT:
                    raise self._error(failure, fix=self._mend(answer.status_code))
                wait = answer.headers.get("Retry-After")
            if attempt < self._retries:
                time.sleep(pause_before(attempt, self._pause, wait, random.random()))
        raise self._error(f"{failure} ({self._retries + 1} attempts)", fix=self._fix)

    def _decode(self, url: str, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            raise self._error(
                f"{url} answered with something that is not JSON: {said(content)}", fix=self._fix
            ) from error

    def _mend(self, status: int) -> str:
        if status in (401, 403):
            return "set the service's API key in the environment"
        return self._fix


def pause_before(attempt: int, first: float, retry_after: str | None, chance: float) -> float:
    """Seconds to wait after failed attempt ``attempt`` (from 0): what the service asked for, or back-off.

    Back-off is ``first`` * 2**attempt, of whose second half the share ``chance`` in [0, 1) is waited, so that
    clients which failed together do not come back together. Never more than ``LONGEST_PAUSE``.
    """
    wished = seconds(retry_after)
    if wished is not None:
        return min(wished, LONGEST_PAUSE)
    return float(min(first * 2**attempt, LONGEST_PAUSE) * (0.5 + 0.5 * chance))


def seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or an HTTP date, as seconds from now; None where it says nothing."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def said(content: bytes) -> str:
    """The message in an error's body, else the first 200 characters of the body."""
    text = content.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except ValueError:
        return text[:200] or "nothing"
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    return value[:500] if isinstance(value, str) else text[:200]
