"""Models that a user brings, of every kind."""

import shutil
from pathlib import Path

import pytest
import torch

from i2i_unlearn.models.own import import_own
from i2i_unlearn.project.given_model import look_at_model
from i2i_unlearn.support.errors import UserError
from tests.support.says import says
from tests.support.shared_runs import FAMILIES, SIZE, model_of

ROOT = Path(__file__).parents[2]
PATCHES = {"mae": 4, "vqgan": 4, "diffusion": 2}
"""Of the tiny models: MAE's patch, 2^2 pixels of a token, and an eighth of 16 where there is none."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_directory_of_every_family_is_recognised(family, tmp_path):
    model_of(family, 0).save(tmp_path / "model")
    given = look_at_model(tmp_path / "model", own="", checkpoint={})
    assert given.family == family
    assert given.image_size == (SIZE, SIZE)
    assert given.patch_size == PATCHES[family]
    assert not given.is_file
    assert bool(given.architecture) == (family == "mae")


def test_a_class_of_ones_own_is_taken_where_it_is_named(tmp_path, monkeypatch):
    name = "conv_inpainter:ConvInpainter"
    shutil.copy(ROOT / "docs/examples/conv_inpainter.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = import_own(name).create({"width": 8}, image_size=16, num_channels=1, generator=torch.Generator())
    model.save(tmp_path / "model")
    given = look_at_model(tmp_path / "model", own=name, checkpoint={})
    assert (given.family, given.kind, given.patch_size) == ("own", f"your class {name}", 2)
    with says(UserError, "config.json", name):
        look_at_model(tmp_path / "model", own="", checkpoint={})


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"not a model")
    with says(UserError, "model.pth", "torch.save"):
        look_at_model(tmp_path / "model.pth", own="", checkpoint={})
    with says(UserError, "--checkpoint", "folder"):
        look_at_model(tmp_path, own="", checkpoint={"image_size": 16})
