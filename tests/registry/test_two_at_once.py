"""Two real servers, and two processes that do the same at the same moment on one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient, pyfunc

from i2i_unlearn import files
from i2i_unlearn.config import PromoteConfig, RegisterConfig
from i2i_unlearn.stages import promote, register, registry_check
from tests.registry.servers import mlflow_server
from tests.registry.world import Folders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("first")) as uri:
        yield uri


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("second")) as uri:
        yield uri


def test_a_version_goes_from_one_server_to_another_and_is_champion_there_alone(
    first: str,
    second: str,
    teacher: Path,
    folders: Folders,
    config: RegisterConfig,
    promote_config: PromoteConfig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", first)
    register.run_original(teacher, config)
    register.run(*folders.inputs, config, by="Ada")
    for version in ("1", "2"):
        promote.run(promote_config, config, version=version, origin=first, target=second, by="Bob")
    here, there = MlflowClient(first, first), MlflowClient(second, second)
    assert here.get_model_version_by_alias(config.model_name, "champion").version == "1"
    champion = there.get_model_version_by_alias(config.model_name, "champion")
    assert champion.tags["origin_registry"] == first
    assert champion.tags["model_sha256"] == files.digest_folder(folders.model)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", second)
    loaded = pyfunc.load_model(f"models:/{config.model_name}@champion").unwrap_python_model()
    assert loaded is not None
    assert registry_check.check(promote_config, config.model_name).findings == ()


REGISTER = """
import json, sys, time
from i2i_unlearn.config import RegisterConfig
from i2i_unlearn.errors import UserError
from i2i_unlearn.stages import register
told = json.loads(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    facts = register.run(*told["inputs"], RegisterConfig(**told["config"]))
except UserError as error:
    facts = {"error": str(error)}
print(json.dumps(facts), flush=True)
"""


def test_two_registrations_of_the_same_at_once_make_one_version(
    first: str, teacher: Path, folders: Folders, config: RegisterConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", first)
    register.run_original(teacher, config)
    told = json.dumps({"inputs": [str(path) for path in folders.inputs], "config": config.model_dump(mode="json")})
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen([sys.executable, "-c", REGISTER, told], stdin=pipe, stdout=pipe, text=True, env=os.environ)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    facts = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    done = [one for one in facts if "error" not in one]
    assert len(done) >= 1
    for one in facts:
        if "error" in one:  # they met before either had uploaded its files
            assert one["error"].startswith("the same model is being registered by another process, which began later")
    versions = MlflowClient().search_model_versions(f"name = '{config.model_name}'")
    assert len(versions) == 2  # the original and one unlearned model
    (unlearned,) = [version for version in versions if version.tags["kind"] == "unlearned"]
    assert {one["version"] for one in done} == {unlearned.version}
    run = MlflowClient().get_run(unlearned.tags["evaluation_run_id"])
    assert run.info.run_id in {one["run_id"] for one in done}
    assert MlflowClient().get_model_version_by_alias(config.model_name, "candidate").version == unlearned.version
    pyfunc.load_model(f"models:/{config.model_name}/{unlearned.version}")
    assert register.run(*folders.inputs, config)["registered"] == "already"
    assert MlflowClient().get_run(run.info.run_id).info.status == "FINISHED"
