"""What docs/evidence.md tells a third party to do, done."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from i2i_unlearn.evidence import limits
from i2i_unlearn.evidence.predicate import PREDICATE_TYPE, Predicate
from i2i_unlearn.evidence.verify import verify
from tests.conftest import ROOT

PAGE = (ROOT / "docs/evidence.md").read_text()
(SCRIPT,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def script(folder, key):
    command = [sys.executable, "-I", "-c", SCRIPT, str(folder), str(key)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("algorithm", ["ecdsa", "ed25519"])
def test_the_script_checks_a_bundle_without_this_project(world, tmp_path, algorithm):
    assert "i2i_unlearn" not in SCRIPT
    bundle = world.bundle(tmp_path / "bundle", algorithm)
    key = world.keys / algorithm / "public.pem"
    assert script(bundle, key).returncode == 0
    (bundle / "metrics.json").write_text("{}")
    assert script(bundle, key).stderr == "metrics.json was changed\n"
    path = bundle / "evidence.json"
    path.write_text(path.read_text().replace('"sig": "', '"sig": "AAAA'))
    assert "InvalidSignature" in script(bundle, key).stderr


def test_the_command_of_model_signing_checks_the_weights(world, without_weights, tmp_path):
    (line,) = [line for line in PAGE.splitlines() if line.startswith("model_signing ")]
    places = {
        "artifacts/unlearned/model": str(shutil.copytree(world.model, tmp_path / "any-name")),
        "artifacts/evidence/model.sig": str(without_weights / "model.sig"),
        "public.pem": str(world.public),
    }
    program, *words = shlex.split(line)
    command = [str(Path(sys.executable).with_name(program)), *(places.get(word, word) for word in words)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (tmp_path / "any-name/config.json").write_text("{}")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_every_link_field_and_limit_is_in_the_page(world, with_weights):
    found = verify(with_weights, world.public)
    links = {link.partition(" in /")[0] for link in found.held}
    assert set(re.findall(r"^\| ([a-z ]+) \|", PAGE.partition("## What it does")[0], re.MULTILINE)) - {"link"} == links
    table = PAGE.partition("## What the statement says")[2]
    for field in set(Predicate.model_fields) - {"schema_version"}:
        assert f"`{field}`" in table, field
    assert PREDICATE_TYPE in PAGE
    told = " ".join(PAGE.split())
    for line in limits.ALWAYS:
        start = line.partition(":")[0].partition(",")[0]
        assert f"- {start[0].upper()}{start[1:]}" in told, line
