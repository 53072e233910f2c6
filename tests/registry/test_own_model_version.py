"""A registered version of a user's own class carries that class's code and runs where the user's package is not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from i2i_unlearn.models import family_named
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.stages import register
from i2i_unlearn.support.errors import UserError
from tests.registry.world import SIZE, complete_elsewhere, images

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
NAME = "my_models.inpainter:ConvInpainter"


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
    package.rename(tmp_path / "gone")
    version = f"models:/{own.model_name}/1"
    completed, where = complete_elsewhere(version, tmp_path / "elsewhere", "my_models.inpainter")
    assert (completed.shape, completed.dtype) == (images().shape, np.uint8)
    np.testing.assert_array_equal(completed[:, :, : SIZE // 2], images()[:, :, : SIZE // 2])
    assert where.endswith("code/my_models/inpainter.py")
