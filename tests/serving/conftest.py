"""A tiny model that is registered once for all tests here, and pictures to send to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from i2i_unlearn.config import RegisterConfig
from i2i_unlearn.stages import register
from tests.registry.world import OPERATOR, make_model


@dataclass(frozen=True)
class Served:
    """A registered version."""

    name: str
    tracking_uri: str
    model_dir: Path

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/1"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("serving")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.chdir(home)
        model = make_model(home / "model", seed=0)
        config = RegisterConfig(model_name="served", experiment="tests", **OPERATOR)
        register.run_original(model, config)
        yield Served("served", f"sqlite:///{home}/mlflow.db", model)


@pytest.fixture(scope="session")
def loaded(served: Served) -> Any:
    """The version as MLflow loads it into a program."""
    from mlflow import pyfunc

    return pyfunc.load_model(served.uri)
