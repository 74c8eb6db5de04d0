"""A scripted HTTP server on loopback."""

import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
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
