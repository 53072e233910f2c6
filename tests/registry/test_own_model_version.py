"""A registered version of a user's own class carries that class's code and runs where the user's package is not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from i2i_unlearn.models import family_named
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.registry import tracking
from i2i_unlearn.stages import register
from i2i_unlearn.support.errors import UserError
from tests.registry.world import SIZE

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
NAME = "my_models.inpainter:ConvInpainter"

COMPLETE = """
import sys
import numpy as np
from mlflow import pyfunc

model = pyfunc.load_model(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
completed = model.predict(images)
import my_models.inpainter
print(completed.shape, completed.dtype, bool((completed[:, :, :4] == images[:, :, :4]).all()))
print(my_models.inpainter.__file__)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's own in the working directory."""
    folder = tmp_path / "work/my_models"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    text = (EXAMPLES / "conv_inpainter.py").read_text().replace("conv_inpainter:ConvInpainter", NAME)
    (folder / "inpainter.py").write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder.parent)
    yield folder
    for name in ("my_models", "my_models.inpainter"):
        sys.modules.pop(name, None)


def test_a_version_runs_without_the_users_package(package, config, tmp_path):
    own = config.model_copy(update={"model": NAME})
    made = family_named("own", NAME).create(
        {"width": 4}, image_size=SIZE, num_channels=1, generator=generator_for(0, "weights")
    )
    made.save(tmp_path / "model")
    with pytest.raises(UserError, match="loading it would run that code"):
        register.run_original(tmp_path / "model", config)
    register.run_original(tmp_path / "model", own)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    package.rename(tmp_path / "gone")
    with tracking.connect() as server:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    ended = subprocess.run(
        [sys.executable, "-c", COMPLETE, f"models:/{own.model_name}/1"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told, where = ended.stdout.splitlines()[-2:]
    assert told == f"{np.zeros((3, SIZE, SIZE, 1)).shape} uint8 True"
    assert where.endswith("code/my_models/inpainter.py")
