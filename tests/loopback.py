"""A scripted HTTP server on loopback, and peers that answer as no server should (``PEERS``)."""

import gzip
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from socketserver import StreamRequestHandler


@contextmanager
def serving(answer):
    """The address of a server that gives what ``answer(handler, body)`` returns, while the block runs.

    That is JSON, or (status, headers, bytes), or None where it wrote to ``handler.wfile`` itself.
    """

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            size = int(self.headers.get("Content-Length") or 0)
            given = answer(self, self.body(self.rfile.read(size)) if size else None)
            if given is None:
                return
            status, headers, content = (
                given if isinstance(given, tuple) else (200, {}, json.dumps(given).encode())
            )
            with suppress(OSError):  # the client has given up, as a time-out test wants
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def body(self, content):
            if self.headers["Content-Type"] == "application/x-ndjson":
                return [json.loads(line) for line in content.splitlines()]
            return json.loads(content)

        do_GET = do_POST = handle_any

        def log_message(self, *args):
            pass

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def _running(server):
    """The address of ``server``, which runs while the block does."""
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_turn(*answers):
    """An answer function: each request gets the next of ``answers``, the last one for ever.

    One that is callable is called with the handler.
    """
    left = list(answers)

    def answer(handler, body):
        given = left.pop(0) if len(left) > 1 else left[0]
        return given(handler) if callable(given) else given

    return answer


def hang(handler, *, seconds=1.5):
    """Says nothing for longer than the client waits."""
    threading.Event().wait(seconds)


def trickle(handler):
    """A byte at a time, each well within a read's own time-out."""
    _announce(handler)
    with suppress(OSError):
        for _ in range(30):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            threading.Event().wait(0.05)


def cut_off(handler):
    """Less of the body than was announced."""
    _announce(handler)
    handler.wfile.write(b'{"results"')


def _announce(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()


# Peers by the bytes they put on the wire. Each has the whole answer that its client would accept at hand;
# what is slow sends all of it in the end, so that a client without a deadline takes it.

TIMEOUT = 0.3
"""Seconds that clients of these peers wait."""


LATE = f"gave no answer within {TIMEOUT:g} s"
BROKE = "the connection broke: "
RUNS = "check that the service runs and that"
FORM, LESS = "the form of an answer", "less to send"  # mends that each client has in its own words


class Wire:
    """A connection, written to byte by byte."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, content: bytes) -> None:
        self._connection.sendall(content)

    def slowly(self, content: bytes, pause: float = 0.01) -> None:
        """A byte at a time, each well within the time-out of a read."""
        for byte in content:
            self.send(bytes([byte]))
            threading.Event().wait(pause)

    def for_ever(self, content: bytes, pause: float = 0.0) -> None:
        """Until the client hangs up."""
        for part in repeat(content):
            self.send(part)
            threading.Event().wait(pause)

    def reset(self) -> None:
        """End the connection without the goodbye of TCP."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


def head(status: str = "200 OK", *lines: str, length: int | None = None) -> bytes:
    """A status line and headers."""
    lines = (*lines, *(() if length is None else (f"Content-Length: {length}",)))
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines, "")).encode("latin-1")


def answer(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    """A whole answer."""
    return head(status, *lines, length=len(body)) + body


def chunk(body: bytes) -> bytes:
    """A chunk of a chunked body; of nothing: its end."""
    return b"%x\r\n%s\r\n" % (len(body), body)


@dataclass(frozen=True)
class Peer:
    """What a peer does with a request, and what its client says of it.

    Args:
        play: gets the wire and the body that the client would accept.
        sentence: part of the error's message; empty where the right value comes in.
        fix: part of the error's mend.
    """

    play: Callable[[Wire, bytes], None]
    sentence: str = ""
    fix: str = ""


def sends(make: Callable[[bytes], bytes], sentence: str = "", fix: str = "") -> Peer:
    """A peer that sends what ``make`` makes of the right body, all at once."""
    return Peer(lambda wire, whole: wire.send(make(whole)), sentence, fix)


def says(status: str, *lines: str, body: bytes = b"", sentence: str, fix: str) -> Peer:
    """A peer that answers with a status of its own."""
    return sends(lambda whole: answer(body, status, *lines), sentence, fix)


def slow(before: Callable[[bytes], bytes], after: Callable[[bytes], bytes]) -> Peer:
    """A peer that sends a first part at once and the rest slowly."""

    def play(wire: Wire, whole: bytes) -> None:
        wire.send(before(whole))
        wire.slowly(after(whole))

    return Peer(play, LATE, RUNS)


def endless(before: bytes, part: bytes, sentence: str, fix: str, pause: float = 0.0) -> Peer:
    """A peer that never comes to an end."""

    def play(wire: Wire, whole: bytes) -> None:
        wire.send(before)
        wire.for_ever(part, pause)

    return Peer(play, sentence, fix)


def breaks(content: Callable[[bytes], bytes], sentence: str = BROKE, *, reset: bool = False) -> Peer:
    """A peer that ends the connection after ``content``."""

    def play(wire: Wire, whole: bytes) -> None:
        wire.send(content(whole))
        if reset:
            wire.reset()

    return Peer(play, sentence, RUNS)


def compressed(encoding: str, body: Callable[[bytes], bytes]) -> Peer:
    """A peer that compresses what was asked for as it is."""
    return sends(
        lambda whole: answer(body(whole), "200 OK", f"Content-Encoding: {encoding}"),
        f"compressed ({encoding}), though it was asked not to",
        "Accept-Encoding: identity",
    )


DEEP = b"[" * 200_000
ESCAPES = "\x1b]52;c;aGk=\x07\u202e"
PEERS = {
    # Right, in unusual ways.
    "whole": sends(answer),
    "chunked": sends(
        lambda whole: (
            head("200 OK", "Transfer-Encoding: chunked") + chunk(whole[:9]) + chunk(whole[9:]) + chunk(b"")
        )
    ),
    "chunked with extensions and a trailer": sends(
        lambda whole: (
            head("200 OK", "Transfer-Encoding: chunked")
            + b"%x;name=value\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(whole), whole)
        )
    ),
    "until the connection ends": sends(lambda whole: head("200 OK", "Connection: close") + whole),
    "HTTP/1.0": sends(lambda whole: b"HTTP/1.0 200 OK\r\n\r\n" + whole),
    "no reason after the status": sends(lambda whole: answer(whole, "200 ")),
    "a continue and a hint first": sends(
        lambda whole: head("100 Continue") + head("103 Early Hints", "Link: </x>") + answer(whole)
    ),
    "more bytes than announced": sends(lambda whole: answer(whole) + b"HTTP/1.1 500 Surprise\r\n\r\n"),
    "byte order mark": sends(lambda whole: answer(b"\xef\xbb\xbf" + whole)),
    "spaces around": sends(lambda whole: answer(b" \r\n\t" + whole + b"\n\n")),
    "created": sends(lambda whole: answer(whole, "201 Created")),
    "partial content that is all": sends(lambda whole: answer(whole, "206 Partial Content")),
    "encoding that is none": sends(lambda whole: answer(whole, "200 OK", "Content-Encoding: utf-8")),
    "content type of a page": sends(
        lambda whole: answer(whole, "200 OK", "Content-Type: text/html; charset=x")
    ),
    "cookies without sense": sends(
        lambda whole: answer(whole, "200 OK", "Set-Cookie: =;;=\xff; expires=Fri, 99 Foo 99999; max-age=x")
    ),
    "Retry-After on a success": sends(lambda whole: answer(whole, "200 OK", "Retry-After: 9999999999")),
    # Late.
    "silence": Peer(lambda wire, whole: threading.Event().wait(3 * TIMEOUT), LATE, RUNS),
    "status line a byte at a time": slow(lambda whole: b"", answer),
    "headers a byte at a time": slow(
        lambda whole: b"HTTP/1.1 200 OK\r\n", lambda whole: b"X: " + b"y" * 99 + b"\r\n" + answer(whole)[17:]
    ),
    "body a byte at a time": slow(
        lambda whole: head(length=len(whole) + 99), lambda whole: b" " * 99 + whole
    ),
    "chunks a byte at a time": slow(
        lambda whole: head("200 OK", "Transfer-Encoding: chunked"),
        lambda whole: chunk(b" ") * 20 + chunk(whole) + chunk(b""),
    ),
    "body a byte at a time until the connection ends": slow(
        lambda whole: head("200 OK"), lambda whole: b" " * 99 + whole
    ),
    "an error a byte at a time": slow(lambda whole: head("404 No", length=999), lambda whole: b"x" * 999),
    "header lines for ever, slowly": endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", LATE, RUNS, pause=0.01),
    "continue for ever": endless(b"", head("100 Continue"), LATE, RUNS, pause=0.001),
    # Too much.
    "header lines for ever": endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 99, BROKE, RUNS),
    "one header for ever": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 999, BROKE, RUNS),
    "status line for ever": endless(b"HTTP/1.1 200 ", b"O" * 999, BROKE, RUNS),
    "chunk size for ever": endless(head("200 OK", "Transfer-Encoding: chunked"), b"0" * 999, BROKE, RUNS),
    "body for ever": endless(head(), b" " * 2**16, "sent more than 1 MiB", LESS),
    "chunks for ever": endless(
        head("200 OK", "Transfer-Encoding: chunked"), chunk(b" " * 2**16), "sent more than 1 MiB", LESS
    ),
    "an error for ever": endless(head("500 No"), b" " * 2**16, "sent more than 1 MiB", LESS),
    # Compressed.
    "gzip": compressed("gzip", gzip.compress),
    "gzip twice, of 2 GiB": compressed(
        "gzip, gzip", lambda whole: gzip.compress(gzip.compress(bytes(2**20)) * 2**11, 1)
    ),
    "deflate": compressed("deflate", zlib.compress),
    "brotli": compressed("br", lambda whole: b"\x0b\x02\x80" + whole + b"\x03"),
    "zstandard, in capitals": compressed("ZSTD", lambda whole: b"\x28\xb5\x2f\xfd"),
    "a compressed error": says(
        "400 No",
        "Content-Encoding: gzip",
        body=b"\x1f\x8b\x08",
        sentence="answered HTTP 400: \ufffd\\x08",
        fix="check ",
    ),
    # Broken.
    "closed without a word": breaks(lambda whole: b"", BROKE + "Server disconnected"),
    "reset without a word": breaks(lambda whole: b"", reset=True),
    "closed amid the headers": breaks(lambda whole: answer(whole)[:20]),
    "closed amid the body": breaks(lambda whole: answer(whole)[:-5]),
    "reset amid the body": breaks(lambda whole: answer(whole)[:-5], reset=True),
    "closed amid the chunks": breaks(
        lambda whole: head("200 OK", "Transfer-Encoding: chunked") + chunk(whole)
    ),
    "chunk size that is no number": breaks(
        lambda whole: head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\n" + whole
    ),
    "HTTP/0.9": breaks(lambda whole: whole),
    "TLS on a plain port": breaks(lambda whole: b"\x15\x03\x03\x00\x02\x02\x46"),
    "SSH": breaks(lambda whole: b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a status that is no number": breaks(lambda whole: b"HTTP/1.1 OK\r\n\r\n"),
    "two lengths": breaks(lambda whole: answer(whole, "200 OK", "Content-Length: 3")),
    "a negative length": breaks(lambda whole: head("200 OK", "Content-Length: -1") + whole),
    "a length of 400 digits": breaks(lambda whole: head("200 OK", "Content-Length: " + "9" * 400) + whole),
    "a header with a null": breaks(lambda whole: answer(whole, "200 OK", "X: a\0b")),
    "a header without a name": breaks(lambda whole: answer(whole, "200 OK", ": x")),
    # Other statuses.
    "no content": sends(lambda whole: head("204 No Content"), "not JSON\n  it sent: (nothing)", FORM),
    "not modified": sends(lambda whole: head("304 Not Modified"), "answered HTTP 304: (nothing)", "check "),
    "switching protocols": sends(lambda whole: head("101 Switching Protocols"), BROKE, RUNS),
    "redirect to itself": says("302 Found", "Location: /", sentence="HTTP 302", fix="it redirects to: /"),
    "redirect without an address": says("301 Moved", sentence="HTTP 301", fix="check "),
    "redirect to no address": says(
        "301 Moved", "Location: http://[", sentence="HTTP 301", fix="it redirects to: http://["
    ),
    "redirect to escapes": says(
        "307 Temporary", "Location: /\x80\xe2\x80\xae", sentence="HTTP 307", fix="it redirects to: /"
    ),
    "bad key": says(
        "401 No", body=b'{"error": {"message": "bad key"}}', sentence="401: bad key", fix="environment"
    ),
    "forbidden": says("403 No", sentence="HTTP 403: (nothing)", fix="environment"),
    "not there": says("404 No", body=b'{"detail": "x"}', sentence="HTTP 404: x", fix="check "),
    "a status of no class": says("999 Odd", sentence="HTTP 999: (nothing)", fix="check "),
    "an error nested deep": says("400 No", body=DEEP, sentence="HTTP 400: [[[", fix="check "),
    "an error that is no object": says(
        "400 No", body=b'{"error": NaN}', sentence='400: {"error": NaN}', fix="check "
    ),
    "an error with escapes": says(
        "400 No",
        body=json.dumps({"error": ESCAPES}).encode(),
        sentence=r"HTTP 400: \x1b]52;c;aGk=\x07\u202e",
        fix="check ",
    ),
    "an error in raw escapes": says(
        "500 No", body=ESCAPES.encode(), sentence=r"HTTP 500: \x1b]52;c;aGk=\x07\u202e (1 attempts)", fix=RUNS
    ),
    "wait until a year without calendar": says(
        "429 Wait", "Retry-After: Fri, 31 Dec 9999999999 00:00:00 GMT", sentence="HTTP 429", fix=RUNS
    ),
    "wait with a control character": says("503 Wait", "Retry-After: 12\x1f", sentence="HTTP 503", fix=RUNS),
    "wait in bytes": says("503 Wait", "Retry-After: \xff\xb2", sentence="HTTP 503", fix=RUNS),
    "wait for ever": says("503 Wait", "Retry-After: " + "9" * 5000, sentence="HTTP 503", fix=RUNS),
    # Not the JSON of the API, whichever it is.
    "nothing": sends(lambda whole: answer(b""), "not JSON\n  it sent: (nothing)", FORM),
    "a page to log in": sends(
        lambda whole: answer(b"<html>Log in</html>", "200 OK", "Content-Type: text/html"),
        "not JSON\n  it sent: <html>Log in</html>",
        FORM,
    ),
    "half of the JSON": sends(lambda whole: answer(whole[:-5]), "not JSON\n  it sent: {", FORM),
    "a length that is too small": sends(lambda whole: head(length=9) + whole, "not JSON\n  it sent: {", FORM),
    "JSON twice": sends(lambda whole: answer(whole + whole), "not JSON", FORM),
    "JSON lines": sends(lambda whole: answer(b"data: " + whole + b"\n\ndata: [DONE]"), "not JSON", FORM),
    "Latin-1": sends(lambda whole: answer(b'{"Z\xfcrich": 1}'), "its text is not UTF-8", FORM),
    "random bytes": sends(lambda whole: answer(bytes(range(128, 256))), "its text is not UTF-8", FORM),
    "brackets": sends(lambda whole: answer(DEEP), "nested too deep", FORM),
    "brackets that are closed": sends(
        lambda whole: answer(b'{"x":' * 100_000 + b"1" + b"}" * 100_000), "nested too deep", FORM
    ),
    "a number of 5000 digits": sends(lambda whole: answer(b"9" * 5000), "more digits than can be read", FORM),
    "null": sends(lambda whole: answer(b"null"), "the answer: ", FORM),
    "a list": sends(lambda whole: answer(b"[]"), "the answer: ", FORM),
    "NaN": sends(lambda whole: answer(b"NaN"), "the answer: ", FORM),
    "an empty object": sends(lambda whole: answer(b"{}"), "Field required", FORM),
}


@contextmanager
def peer(play, whole, bodies=lambda path: None):
    """The address of a peer that does ``play`` with every request, while the block runs.

    Args:
        play: as in ``Peer``.
        whole: the body that the client would accept.
        bodies: path to the body of a request that is answered as it should be; None for all others.
    """

    class Handler(StreamRequestHandler):
        def handle(self):
            with suppress(OSError):  # the client has hung up, as most of these peers make it do
                path = self.rfile.readline().split()[1].decode()
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.rfile.read(length)
                body = bodies(path)
                if body is not None:
                    self.request.sendall(answer(body, "200 OK", "Connection: close"))
                else:
                    play(Wire(self.request), whole)

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
