"""Decisions are told to a real HTTP server and a real program; what fails there changes nothing."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from i2i_unlearn.config.sections import PromoteConfig
from i2i_unlearn.registry import check, rollback
from i2i_unlearn.registry.notify import notify
from i2i_unlearn.stages import promote
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.registry.servers import free_port


class Hook(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[dict] = []
        self.seen: list[tuple[str, str | None]] = []
        self.code, self.wait_s = 200, 0.0

    def address(self, rest: str = "/hook", login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.server_address[1]}{rest}"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:  # noqa: N802
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.received.append(json.loads(content))
        self.server.seen.append((self.path, self.headers["Authorization"]))
        time.sleep(self.server.wait_s)
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def with_hook(config: PromoteConfig, **changes: object) -> PromoteConfig:
    return PromoteConfig(**{**config.model_dump(), **changes})


def test_every_decision_is_posted(registered, promote_config, hook):
    config = with_hook(promote_config, notify_url=hook.address())
    registered.tag("2", gate="fail")
    with pytest.raises(GateRefused):
        promote.run(config, registered.config, by="Ada")
    registered.tag("2", gate="pass")
    promote.run(config, registered.config, by="Ada", reason="request digit-3")
    promote.run(config, registered.config, by="Ada")  # nothing is decided
    promote.run(config, registered.config, version="2", dry_run=True)
    with pytest.raises(GateRefused):
        rollback.run(config, registered.config, by="Bob", reason="seams")
    rollback.run(config, registered.config, by="Bob", reason="seams", force=True)
    registered.set_alias("champion", "2")
    check.check(config, registered.name)
    events = [message["event"] for message in hook.received]
    assert events == ["refused", "promoted", "refused", "rolled back", "found moved"]
    refused, promoted, _, back, moved = hook.received
    assert any("did not pass" in reason for reason in refused["reasons"])
    assert (promoted["model_name"], promoted["version"], promoted["replaced"]) == (registered.name, "2", "1")
    assert (promoted["by"], promoted["reason"], promoted["schema_version"]) == ("Ada", "request digit-3", 1)
    assert (back["version"], back["knows_again"], back["by"]) == ("1", ["digit-3"], "Bob")
    assert (moved["version"], moved["recorded"]) == ("2", "1")


def test_a_command_gets_the_same_on_stdin_and_its_arguments_as_they_are(promote_config, tmp_path, capfd):
    program = tmp_path / "tell me.py"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[1], 'w').write(sys.stdin.read()); print('word')\n"
    )
    program.chmod(0o755)
    out = tmp_path / "$(touch pwned); out.json"
    notify(with_hook(promote_config, notify_command=[str(program), str(out)]), "promoted", {"version": "2"})
    content = json.loads(out.read_text())
    assert (content["event"], content["version"]) == ("promoted", "2")
    assert not (tmp_path / "pwned").exists()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_path_alone_is_a_command(promote_config):
    assert with_hook(promote_config, notify_command="/bin/true").notify_command == ["/bin/true"]
    assert with_hook(promote_config, notify_command="").notify_command == []


def test_what_fails_is_one_line_without_a_secret_and_the_decision_stands(
    registered, promote_config, hook, monkeypatch, capsys
):
    hook.code = 500
    url = hook.address("/services/SECRET-PATH?token=SECRET-TOKEN", login="user:SECRET-WORD@")
    monkeypatch.setenv("I2I_UNLEARN_NOTIFY_URL", url)  # takes the place of the setting
    command = ["/bin/false", "SECRET-ARGUMENT"]
    config = with_hook(promote_config, notify_url="http://127.0.0.1:9/", notify_command=command)
    assert promote.run(config, registered.config)["outcome"] == "promoted"
    told = capsys.readouterr().err.splitlines()
    where = f"http://127.0.0.1:{hook.server_address[1]}"
    assert told == [
        f"i2i-unlearn: notification: {where} answered 500; the decision stands (promoted)",
        "i2i-unlearn: notification: /bin/false exited with code 1; the decision stands (promoted)",
    ]
    assert registered.alias("champion") == "2"
    assert hook.seen == [("/services/SECRET-PATH?token=SECRET-TOKEN", "Basic dXNlcjpTRUNSRVQtV09SRA==")]


@pytest.mark.parametrize("url", ["http://127.0.0.1:PORT/SECRET", "http://user:SECRET@127.0.0.1:PORT/x"])
def test_nobody_there_is_told_without_a_secret(promote_config, url, capsys):
    notify(with_hook(promote_config, notify_url=url.replace("PORT", str(free_port()))), "promoted", {})
    told = capsys.readouterr().err
    assert "cannot be reached" in told
    assert "SECRET" not in told
    assert told.count("\n") == 1


def test_who_does_not_answer_in_time_is_not_waited_for(promote_config, hook, capsys):
    hook.wait_s = 3
    begin = time.monotonic()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    config = with_hook(promote_config, notify_url=hook.address(), notify_command=command, notify_timeout_s=0.5)
    notify(config, "promoted", {})
    assert time.monotonic() - begin < 20
    told = capsys.readouterr().err
    assert "did not answer within 0.5 s" in told
    assert "did not finish within 0.5 s and was stopped" in told


def test_an_address_of_another_kind_is_refused_without_repeating_it(promote_config, monkeypatch, capsys):
    with pytest.raises(UserError, match="must begin with http") as told:
        with_hook(promote_config, notify_url="file:///etc/SECRET")
    assert "SECRET" not in str(told.value)
    monkeypatch.setenv("I2I_UNLEARN_NOTIFY_URL", "file:///etc/SECRET")
    notify(promote_config, "promoted", {})
    assert "SECRET" not in capsys.readouterr().err
