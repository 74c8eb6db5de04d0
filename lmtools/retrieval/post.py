"""One POST of JSON with a deadline, retried while the fault may pass."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from lmtools.core.errors import RetrieverError
from lmtools.core.progress import say
from lmtools.retrieval.config import HttpConfig

MAX_ANSWER = 256 * 2**20
CHUNK = 2**16
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and carry the headers (a token, say) to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Passing(Exception):
    """A fault that may be gone on the next try."""


def post_json(config: HttpConfig, token_headers: Mapping[str, str], payload: Mapping[str, Any]) -> bytes:
    """The body of the answer to ``payload``.

    Connection faults, time-outs, 429 and 5xx are tried again after 0.5, 1, 2, ... seconds.

    Raises:
        RetrieverError: the address, what happened at the last try, and the mend.
    """
    # ASCII escapes: lone surrogates in a query have no UTF-8 form.
    data = json.dumps(payload).encode("ascii")
    headers = {**token_headers, "Content-Type": "application/json"}
    for attempt in range(config.retries + 1):
        try:
            return _send(config.url, data, headers, config.timeout)
        except _Passing as fault:
            reason = fault
        if attempt < config.retries:
            wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
            say(f"{config.url}: {reason}; trying again in {wait:g} s")
            time.sleep(wait)
    raise RetrieverError(
        f"{config.url}: {reason} ({config.retries + 1} tries)",
        fix="see that the service runs and answers there; if it is slow, raise retriever.timeout or .retries",
    )


def shorten(body: bytes, limit: int = 120) -> str:
    """The beginning of a body, printable on one line."""
    text = ascii(body[:limit].decode("utf-8", "replace"))[1:-1]
    return f"{text}..." if len(body) > limit else text or "(nothing)"


def _send(url: str, data: bytes, headers: dict[str, str], timeout: float) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    deadline = time.monotonic() + timeout
    try:
        request = urllib.request.Request(url, data, headers)
        with opener.open(request, timeout=timeout) as answer:
            return _read(answer, deadline, url)
    except urllib.error.HTTPError as error:
        raise _status_fault(url, error) from error
    except TimeoutError as error:
        raise _Passing(f"no answer within {timeout:g} s") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _Passing(f"no answer within {timeout:g} s") from error
        raise _Passing(f"cannot be reached: {error.reason}") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise RetrieverError(f"{url}: no valid address: {error}", fix="check retriever.url") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(f"the connection broke: {error or type(error).__name__}") from error


def _read(answer: http.client.HTTPResponse, deadline: float, url: str) -> bytes:
    """The whole body; the socket's own time-out starts anew at every byte, so a trickle needs a deadline."""
    parts, size = [], 0
    while chunk := answer.read1(CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER:
            raise RetrieverError(
                f"{url} sent more than {MAX_ANSWER >> 20} MiB",
                fix="lower retriever.batch_size, or send less text",
            )
        if time.monotonic() > deadline:
            raise TimeoutError
    if answer.length:  # read1 says nothing of a connection that ended early
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)


def _status_fault(url: str, error: urllib.error.HTTPError) -> Exception:
    try:
        body = shorten(error.read(CHUNK))
    except (OSError, http.client.HTTPException):
        body = "(its body did not arrive)"
    if error.code in PASSING:
        return _Passing(f"HTTP {error.code} {error.reason}: {body}")
    if error.code in (401, 403):
        fix = "put the service's token into an environment variable and name it in retriever.headers_env"
    elif 300 <= error.code < 400:
        fix = f"set retriever.url to the address it redirects to: {error.headers.get('Location', 'unknown')}"
    else:
        fix = "check retriever.url; the service has to take a POST of JSON there"
    return RetrieverError(f"{url}: HTTP {error.code} {error.reason}: {body}", fix=fix)
