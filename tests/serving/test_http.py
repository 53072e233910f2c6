"""`mlflow models serve` as a process, asked over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.registry.world import SIZE
from tests.serving.conftest import Served
from tests.serving.pictures import as_bytes, from_png, in_base64, pixels, png

pytestmark = pytest.mark.slow
SECONDS_TO_START = 120


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


Ask = Callable[..., tuple[int, dict]]


@contextmanager
def serving(served: Served, log: Path, **environment: str) -> Iterator[Ask]:
    """Run the server; yield `ask(body)`: status and answer."""
    port = free_port()
    words = ["-m", "mlflow", "models", "serve", "--model-uri", served.uri, "--env-manager", "local", "--host"]
    beside = str(Path(sys.executable).parent)  # MLflow looks for uvicorn on the PATH
    path = f"{beside}:{os.environ['PATH']}"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, *words, "127.0.0.1", "--port", str(port)],
            env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": served.tracking_uri, **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(server, port, log)
        yield lambda body: post(port, body)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


@pytest.fixture(scope="module")
def ask(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with serving(served, tmp_path_factory.mktemp("log") / "server") as ask:
        yield ask


def wait_until_up(server: subprocess.Popen, port: int, log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping"):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text()}")


def post(port: int, body: object) -> tuple[int, dict]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", content, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def refused(ask: Ask, body: object) -> str:
    """The message of an answer with status 400; no stack trace goes out."""
    status, answer = ask(body)
    assert status == 400
    assert "stack_trace" not in answer
    return answer["message"]


def forms(images: np.ndarray) -> Iterator[dict]:
    """The same images in every form that MLflow's protocol has."""
    files = [png(image) for image in images]
    for key in ("inputs", "instances"):
        yield {key: images.tolist()}
        yield {key: files}
        yield {key: [{"image": file} for file in files]}
    yield {"inputs": {"image": images.tolist()}}
    yield {"inputs": {"image": files}}
    yield {"dataframe_records": [{"image": file} for file in files]}
    yield {"dataframe_records": [{"image": image.tolist()} for image in images]}
    yield {"dataframe_split": {"columns": ["image", "visible"], "data": [[file, None] for file in files]}}


def test_numbers_and_pictures_give_the_same_completions_in_every_form(ask: Ask, loaded):
    images = pixels()
    expected = loaded.predict(images)
    for body in forms(images):
        status, answer = ask(body)
        assert status == 200, (body, answer)
        found = answer["predictions"]
        sent_files = "iVBOR" in str(body)
        assert isinstance(found[0], dict) == sent_files
        if sent_files:
            found = [from_png(one["image"]) for one in found]
        np.testing.assert_array_equal(np.array(found), expected)


def test_another_operator_and_a_mask_of_ones_own(ask: Ask):
    images, own = pixels(2), np.zeros((SIZE, SIZE), dtype=np.uint8)
    own[2:] = 255
    body = {"dataframe_split": {"columns": ["image", "visible"], "data": [[png(images[0]), png(own)]]}}
    (one,) = ask(body)[1]["predictions"]
    np.testing.assert_array_equal(from_png(one["image"])[2:], images[0][2:])
    assert not np.array_equal(from_png(one["image"])[:2], images[0][:2])
    answer = ask({"inputs": images.tolist(), "params": {"operator": "half_up", "keep_fraction": 0.5}})[1]
    found = np.array(answer["predictions"])
    np.testing.assert_array_equal(found[:, :4], images[:, :4])
    assert (found[:, 4:] != images[:, 4:]).mean() > 0.5


def test_what_is_wrong_is_one_line_with_status_400(ask: Ask):
    """Every other fault of a payload is in test_payload.py."""
    images = pixels(1)
    bomb = in_base64(as_bytes(np.zeros((9000, 9000), dtype=np.uint8)))  # 80 KB that unpack to 81 MB
    lines = {
        "image 1: is not base64; encode the bytes of the file": {"inputs": ["no base64!"]},
        f"image 1: is 9000 x 9000 pixels (height x width); the model takes {SIZE} x {SIZE}": {"inputs": [bomb]},
        f"images of shape (1, 4, 8, 1) were sent; the model takes (images, {SIZE}, {SIZE}, 1)": {
            "inputs": images[:, :4].tolist()
        },
        "columns picture were sent; send `image` and optionally `visible`": {"inputs": {"picture": ["x"]}},
        "keep_fraction=2.0 must lie between 0 and 1; send such a number": {
            "inputs": images.tolist(),
            "params": {"keep_fraction": 2.0},
        },
    }
    for line, body in lines.items():
        assert refused(ask, body) == line
    for body in ([], {"bla": 1}, b"\xff{", b"{", {"inputs": [[1, 2], [3]]}):  # refused by MLflow itself
        assert refused(ask, body)


def test_a_guard_puts_a_refusal_in_place_of_an_image(served: Served, guard_folder, tmp_path):
    images = pixels(3)
    with serving(served, tmp_path / "log", I2I_UNLEARN_GUARD=str(guard_folder(images[:1]))) as ask:
        status, answer = ask({"inputs": [png(image) for image in images]})
        assert status == 200
        first, *others = answer["predictions"]
        assert first == {"image": None, "refused": "refused by the filter for pending forget requests"}
        assert [one["refused"] for one in others] == [None, None]
        np.testing.assert_array_equal(from_png(others[0]["image"])[:, :4], images[1][:, :4])
        numbers = ask({"inputs": images.tolist()})[1]["predictions"]
        assert numbers[0] == {"refused": first["refused"]}
        assert np.array(numbers[1:]).shape == (2, SIZE, SIZE, 1)
    assert "similar" not in (tmp_path / "log").read_text()
