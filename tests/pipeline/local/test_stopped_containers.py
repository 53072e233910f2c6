"""A run that is stopped, against a stub of Docker's HTTP API on loopback; tests/containers has the real one."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import docker
import pytest

from i2i_unlearn.pipeline.local.containers import KILLED, _none_left, run_container


class DockerStub:
    """Containers that run until they are removed."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.there: set[str] = set()
        self.running = threading.Semaphore(0)
        self.changed = threading.Condition()
        self.on_create = lambda: None
        self.listed_too: list[str] = []
        """Ids that a list still names and that are gone when asked for."""

    def answer(self, method: str, path: str) -> tuple[int, object]:
        match [method, *path.strip("/").split("/")[1:]]:
            case ["POST", "containers", "create"]:
                with self.changed:
                    name = f"c{len(self.made)}"
                    self.made.append(name)
                    self.there.add(name)
                self.on_create()
                return 201, {"Id": name, "Warnings": []}
            case ["GET", "containers", "json"]:
                return 200, [{"Id": name} for name in [*sorted(self.there), *self.listed_too]]
            case [_, "containers", name, *_] if name not in self.there:
                return 404, {"message": f"No such container: {name}"}
            case ["GET", "containers", name, "json"]:
                return 200, {"Id": name, "Config": {"Tty": True}}
            case ["POST", "containers", _, "start"]:
                self.running.release()
                return 204, None
            case ["GET", "containers", name, "logs"]:
                with self.changed:
                    self.changed.wait_for(lambda: name not in self.there, 20)
                return 200, None
            case ["DELETE", "containers", name]:
                with self.changed:
                    self.there.discard(name)
                    self.changed.notify_all()
                return 204, None
            case ["POST", "containers", _, "wait"]:
                return 200, {"StatusCode": 0}
        return 400, {"message": f"not known here: {method} {path}"}

    @contextmanager
    def served(self) -> Iterator[docker.DockerClient]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content = stub.answer(self.command, urlsplit(self.path).path)
                data = b"" if content is None else json.dumps(content).encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{server.server_port}", version="1.43")
            try:
                yield client
            finally:
                client.close()
                server.shutdown()
                thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_waits_in_a_loop_s_queue_is_not_begun_after_a_stop(number):
    stub, stopped = DockerStub(), threading.Event()

    def stop() -> None:
        for _ in range(2):
            assert stub.running.acquire(timeout=20)
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    with stub.served() as client:
        item = partial(run_container, client, "image", ["true"], {}, stopped=stopped)
        stopper = threading.Thread(target=stop)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt), _none_left(client, "a-run", stopped):  # noqa: PT012  as kfp has it
            pool = ThreadPoolExecutor(max_workers=2)  # as kfp's ParallelExecutor, which waits for what is queued
            try:
                futures = [pool.submit(item) for _ in range(6)]
                stopper.start()
                for future in futures:
                    future.exception()
            finally:
                pool.shutdown(wait=True)
        stopper.join()
    assert time.monotonic() - begun < 15
    assert (len(stub.made), stub.there) == (2, set())
    assert [future.result() for future in futures[2:]] == [KILLED] * 4


def test_a_container_that_was_being_made_during_the_stop_is_removed_at_once():
    stub, stopped = DockerStub(), threading.Event()
    stub.on_create = stopped.set
    with stub.served() as client:
        assert run_container(client, "image", ["true"], {}, stopped=stopped) == KILLED
    assert (len(stub.made), stub.there) == (1, set())


def test_a_container_that_vanishes_while_they_are_listed_is_no_error():
    stub = DockerStub()
    stub.there, stub.listed_too = {"left"}, ["gone"]
    with stub.served() as client, _none_left(client, "a-run", threading.Event()):
        pass
    assert stub.there == set()
