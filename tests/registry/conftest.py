"""All tests here share one real MLflow database (`mlflow_home`); each test has a model name of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
from i2i_unlearn.stages import register
from tests.registry.servers import mlflow_server
from tests.registry.world import OPERATOR, Folders, Registered, make_folders, make_model, use_store, write_params


@pytest.fixture(autouse=True)
def _in_mlflow_home(mlflow_home, tmp_path, monkeypatch) -> None:
    use_store(mlflow_home, monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """Model directory of the original."""
    return make_model(tmp_path_factory.mktemp("teacher") / "model", seed=0)


_names = (f"model-{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def mlflow_address(tmp_path_factory) -> Iterator[str]:
    """A server with sqlite behind it and its artifacts on disk."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


@pytest.fixture
def config() -> RegisterConfig:
    """A model name that no other test uses."""
    return RegisterConfig(model_name=next(_names), experiment="tests", **OPERATOR)


@pytest.fixture
def promote_config(tmp_path) -> PromoteConfig:
    return PromoteConfig(
        ledger=str(tmp_path / "promotions.jsonl"), notify_url="", notify_command=[], notify_timeout_s=10
    )


@pytest.fixture
def folders(tmp_path, teacher) -> Folders:
    return make_folders(tmp_path / "artifacts", teacher)


@pytest.fixture(scope="session")
def template(mlflow_home, teacher, tmp_path_factory) -> str:
    """Name of a model with both versions, registered by the stages; tests copy it."""
    config = RegisterConfig(model_name="template", experiment="tests", **OPERATOR)
    with pytest.MonkeyPatch.context() as patch:
        use_store(mlflow_home, patch)
        register.run_original(teacher, config)
        register.run(*make_folders(tmp_path_factory.mktemp("template"), teacher).inputs, config)
    return config.model_name


@pytest.fixture
def registered(template, config) -> Registered:
    """Both versions under a name of the test's own; the files are shared, so leave them alone."""
    client = MlflowClient()
    client.create_registered_model(config.model_name)
    for number, alias in (("1", "champion"), ("2", "candidate")):
        old = client.get_model_version(template, number)
        new = client.create_model_version(config.model_name, old.source, run_id=old.run_id, tags=old.tags)
        client.set_registered_model_alias(config.model_name, alias, new.version)
    return Registered(config)


@pytest.fixture
def params(registered, promote_config, tmp_path) -> Path:
    """params.yaml of the registered model, in the working directory."""
    return write_params(tmp_path, registered.config, promote_config)
