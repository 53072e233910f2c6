"""The commands, as a third party has them: a copied folder, a public key, no network, no MLflow."""

import base64
import json
import subprocess
import sys

import pytest
import yaml

from i2i_unlearn.support import files
from tests.conftest import ROOT

POLICIES = ROOT / "mlflow/policies"
OFFLINE = """
import socket, sys
sys.modules["mlflow"] = None  # as if it were not installed
def refuse(*words):
    raise AssertionError(f"somebody wants the network: {words}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
sys.argv[0] = "i2i-unlearn"
from i2i_unlearn.cli.main import main
main()
"""


@pytest.fixture
def run(command_line, tmp_path):
    """`run("verify", ...)` -> code, out, err."""
    return lambda *words: command_line(tmp_path, "evidence", *words)


def made_of(world):
    """Options of `evidence create` that name what evidence is made of."""
    folders = world.inputs()
    folders = {key: folders[key] for key in ("evaluation", "unlearned", "teacher", "splits", "requests")}
    return [word for key, value in folders.items() for word in (f"--{key}", value)] + ["--policies", POLICIES]


def one_line(ended):
    assert ended.code == 1
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    return line.removeprefix("i2i-unlearn: error: ")


def test_create_verify_and_show_from_the_shell(command_line, world, tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(world.params(), sort_keys=False))
    assert command_line(tmp_path, "keys", "create", "--out", "keys", "--passphrase", "a secret").code == 2
    keys = command_line(tmp_path, "keys", "create", "--out", "keys", I2I_UNLEARN_KEY_PASSPHRASE="a secret")
    assert (keys.code, keys.err) == (0, "")
    assert "keys/private.pem (protected by a passphrase)" in keys.out
    (tmp_path / "passphrase").write_text("a secret\n")
    made = command_line(
        *(tmp_path, "evidence", "create", "--key", "keys/private.pem", "--passphrase-file", "passphrase", "--out", "e"),
        *(*made_of(world), "--image", "registry/i2i-unlearn:1"),
    )
    assert (made.code, made.err) == (0, "")
    assert "a secret" not in keys.out + made.out
    checked = command_line(tmp_path, "evidence", "verify", "e", "--key", "keys/public.pem", "--model", world.model)
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.startswith("e: sound, signed by the key ")
    assert "- that no other copy of the model" in checked.out
    assert f"signature of the weights in {world.model}" in checked.out
    told = json.loads(command_line(tmp_path, "evidence", "verify", "e", "--key", "keys/public.pem", "--json").out)
    assert (told["sound"], told["broken"]) == (True, [])
    assert {"signature", "files", "gate", "split manifest", "deadline"} <= set(told["held"])
    assert told["not_shown"]
    shown = command_line(tmp_path, "evidence", "show", "e", COLUMNS="40")
    assert (shown.code, shown.err) == (0, "")
    assert files.digest_folder(world.model) in shown.out  # whole, whatever the width
    assert shown.out.startswith("gate ")
    assert "withdrawn-1" in shown.out.splitlines()[0]
    assert "Read, not checked" in shown.out
    assert json.loads(command_line(tmp_path, "evidence", "show", "e", "--json").out)["predicate"]["image"] == (
        "registry/i2i-unlearn:1"
    )


def test_a_check_needs_neither_network_nor_mlflow(world, with_weights, copied):
    folder = copied(with_weights)
    command = [sys.executable, "-c", OFFLINE, "evidence", "verify", str(folder), "--key", str(world.public)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ": sound" in ended.stdout


def test_each_broken_link_is_a_line_and_the_exit_code_1(world, with_weights, copied, run):
    folder = copied(with_weights)
    (folder / "metrics.json").write_text("{}")
    (folder / "model/config.json").unlink()
    ended = run("verify", folder, "--key", world.public)
    assert (ended.code, ended.err) == (1, "")
    *broken, last = ended.out.splitlines()
    assert all(line.startswith("broken: ") for line in broken)
    assert any(line.startswith("broken: files: metrics.json: was changed") for line in broken)
    assert any(line.endswith("config.json: is missing") for line in broken)
    assert "NOT sound" in last
    told = json.loads(run("verify", folder, "--key", world.public, "--json").out)
    assert told["sound"] is False
    assert len(told["broken"]) == len(broken)


def test_a_check_without_a_trusted_key_is_refused(with_weights, run):
    assert "proves nothing, anybody can put one there" in one_line(run("verify", with_weights))
    inside = one_line(run("verify", with_weights, "--key", with_weights / "public.pem"))
    assert "is inside the bundle and proves nothing" in inside


def test_what_is_no_bundle_is_told_in_a_line(world, with_weights, copied, run, tmp_path):
    half = copied(with_weights)
    (half / "evidence.json").unlink()
    later = copied(with_weights)
    content = json.loads((later / "evidence.json").read_text())
    payload = base64.b64decode(content["payload"]).replace(b"evidence:v1", b"evidence:v2")
    content["payload"] = base64.b64encode(payload).decode()
    (later / "evidence.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    cases = [
        (tmp_path / "nowhere", "no such folder"),
        (with_weights / "metrics.json", "no such folder"),
        (half, "has no evidence.json"),
        (later, "has version 2 of its format, this program reads 1; use the i2i-unlearn that wrote it"),
    ]
    for place, words in cases:
        assert words in one_line(run("verify", place, "--key", world.public))
        assert words in one_line(run("show", place))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"payload": 1}', '{"payload": "e30=", "payloadType": 3, "signatures": 4}']
)
def test_an_envelope_that_is_none_is_a_broken_link(world, with_weights, copied, run, text):
    folder = copied(with_weights)
    (folder / "evidence.json").write_text(text)
    ended = run("verify", folder, "--key", world.public)
    assert ended.code == 1
    assert ended.out.startswith("broken: envelope: evidence.json is not a DSSE envelope")
    assert "is not a DSSE envelope" in one_line(run("show", folder))


def test_keys_and_folders_that_cannot_be_used_are_told_in_a_line(world, with_weights, run, tmp_path):
    create = ("create", "--out", tmp_path / "out", "--params", tmp_path / "params.yaml", "--policies", POLICIES)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(world.params()))
    private = world.keys / "ecdsa/private.pem"
    cases = [
        ((*create, "--key", world.public), "holds no private key"),
        ((*create, "--key", tmp_path / "nowhere"), "no such key"),
        ((*create, "--key", private, "--evaluation", tmp_path), "no such file"),
        (("verify", with_weights, "--key", private), "is a private key"),
        (("verify", with_weights, "--key", world.public, "--model", tmp_path / "nowhere"), "no such folder"),
    ]
    for words, wanted in cases:
        assert wanted in one_line(run(*words))

    assert not (tmp_path / "out").exists()


def test_a_run_that_is_killed_leaves_no_half_bundle(command_line, world, tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(world.params(), sort_keys=False))
    words = ("evidence", "create", "--key", world.keys / "ecdsa/private.pem", "--out", "e", *made_of(world))
    killed = command_line(tmp_path, *words, moment={"event": "open", "contains": "evidence.json"})
    assert killed.code == -9
    assert not (tmp_path / "e").exists()
    assert command_line(tmp_path, *words).code == 0
    assert command_line(tmp_path, "evidence", "verify", "e", "--key", world.public).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "e"}
