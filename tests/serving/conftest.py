"""A tiny model that is registered once for all tests here, and pictures to send to it."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.stages import register
from i2i_unlearn.support import files
from tests.registry.world import OPERATOR, make_model, use_store
from tests.serving.pictures import pixels


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
def served(mlflow_home: Path) -> Served:
    model = make_model(mlflow_home / "served", seed=0)
    with pytest.MonkeyPatch.context() as patch:
        uri = use_store(mlflow_home, patch)
        register.run_original(model, RegisterConfig(model_name="served", experiment="tests", **OPERATOR))
    return Served("served", uri, model)


@pytest.fixture(scope="session")
def loaded(served: Served) -> Any:
    """The version as MLflow loads it into a program."""
    from mlflow import pyfunc

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", served.tracking_uri)
        return pyfunc.load_model(served.uri)


@pytest.fixture
def guard_folder(tmp_path: Path, served: Served) -> Callable[..., Path]:
    """`guard_folder(images)`: a guard for these images, at a threshold that only near-copies pass."""
    import torch

    from i2i_unlearn.models.extractors import load_extractor
    from i2i_unlearn.serving.guard.filter import Guard, GuardFacts, around, features_of, write_guard

    def make(images: np.ndarray, expires: datetime.date = datetime.date(2999, 1, 1)) -> Path:
        extractor = load_extractor("efficientnet_lite0", torch.device("cpu"))
        mean_D = features_of(extractor, pixels(30, seed=99)).mean(0)
        facts = GuardFacts(
            schema_version=1,
            what="test",
            requests=["digit-3"],
            expires=expires,
            extractor="efficientnet_lite0",
            extractor_label="efficientnet_lite0",
            threshold=0.9,
            false_alarms=0.01,
            measured={},
            num_forget=len(images),
            operator="half_left",
            keep_fraction=0.5,
            model_sha256=files.digest_folder(served.model_dir),
        )
        forget_ND = around(features_of(extractor, images), mean_D)
        write_guard(Guard(facts, extractor, mean_D, forget_ND), tmp_path / "guard")
        return tmp_path / "guard"

    return make
