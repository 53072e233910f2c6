"""A small HTTP server on loopback whose next replies can be made bad in every way that a network knows."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Reply(Exception):  # noqa: N818  raised by handlers to answer otherwise
    """Another status than 200."""

    def __init__(self, status: int, body: Any, content_type: str = "application/json", **headers: str) -> None:
        super().__init__(status)
        self.status, self.body, self.content_type, self.headers = status, body, content_type, headers


class Stub:
    """Subclasses answer requests by their ROUTES; `requests` holds what was asked, with its headers."""

    ROUTES: list[tuple[str, str]] = []
    """Patterns of `METHOD /path`, and the method here that answers with a model: (query, body, *groups of the path)."""

    def __init__(self, models: Any = None) -> None:
        self._models = models
        """The generated client (ApiClient) that writes the models as JSON."""
        self.requests: list[tuple[str, str, dict[str, list[str]], Any, dict[str, str]]] = []
        self.faults: list[Reply | str] = []
        """What the next requests get instead: a Reply, "hang", or "cut"."""
        self.always: Reply | str | None = None
        """What every request gets instead."""
        self.url = ""
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: bytes, headers: dict[str, str]) -> Any:
        for pattern, name in self.ROUTES:
            if found := re.fullmatch(pattern, f"{method} {path}"):
                answer = getattr(self, name)(query, body, *found.groups())
                if isinstance(answer, bytes | Iterator):
                    raise Reply(200, answer, "text/plain")
                return self._models.sanitize_for_serialization(answer)
        raise Reply(404, {"message": f"Not Found: {method} {path}"})

    def before(self, name: str, act: Callable[[], object]) -> None:
        """Call `act` whenever the method `name` is about to answer; it may raise a Reply instead."""
        answer = getattr(self, name)

        def acted(*arguments: Any) -> Any:
            act()
            return answer(*arguments)

        setattr(self, name, acted)

    def refuse(self, name: str, reply: Reply) -> None:
        """Answer with `reply` where the method `name` would."""

        def refused(*_: Any) -> Any:
            raise reply

        setattr(self, name, refused)

    def asked(self, method: str, path: str) -> list[Any]:
        """Queries of such requests."""
        return [query for asked, where, query, _, _ in self.requests if (asked, where) == (method, path)]

    @contextmanager
    def served(self, tls: Any = None) -> Iterator["Stub"]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query, keep_blank_values=True)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                with stub.lock:
                    stub.requests.append((self.command, parts.path, query, body, headers))
                    fault = stub.faults.pop(0) if stub.faults else stub.always
                if fault == "hang":
                    stub.stopping.wait(30)
                    self.close_connection = True
                    return
                if fault == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"run')
                    self.close_connection = True
                    return
                try:
                    if fault is not None:
                        raise fault
                    with stub.lock:
                        answer = stub.handle(self.command, parts.path, query, body, headers)
                    self._send(200, answer, "application/json", {})
                except Reply as reply:
                    self._send(reply.status, reply.body, reply.content_type, reply.headers)

            def _send(self, status: int, body: Any, content_type: str, headers: dict[str, str]) -> None:
                if isinstance(body, Iterator):
                    self._send_pieces(status, body, content_type)
                    return
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(data)

            def _send_pieces(self, status: int, body: Iterator[bytes], content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    for piece in body:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                except ConnectionAbortedError:  # the body's own: cut off here
                    self.close_connection = True

            do_GET = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that went away

        server = Quiet(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            server.shutdown()
            server.server_close()
            thread.join()


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
