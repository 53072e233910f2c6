"""Forgetting at three levels, from split to the unlearned model: a class of digits, a photograph's subject, images."""

import datetime
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import EMBEDDED, stored_png
from i2i_unlearn.data.request import make_request, one_month_after, write_request
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.stages import pretrain, split, unlearn

RECEIVED = datetime.date(2026, 1, 1)
SINGLE = [f"thing-{number:03d}" for number in range(0, 250, 5)]  # 50 of 250 training images


def digits(folder: Path) -> None:
    """A fifth of them: 100 of each digit."""
    write_shards(itertools.islice(EMBEDDED["digits"].records(), 0, None, 5), folder / "images", "digits")


def photos(folder: Path) -> None:
    write_shards(EMBEDDED["photos"].records(), folder / "images", "photos")


def things(folder: Path) -> None:
    """As CIFAR-10 comes: 32 x 32 in colour, ten classes, a training and a test set. Each is a shape on one colour."""
    y, x = np.mgrid[:32, :32] / 31 - 0.5
    records = []
    for number in range(330):
        rng = np.random.default_rng(number)
        kind, angle = number % 10, rng.uniform(0, 2 * math.pi)
        u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        inside = (np.abs(u) ** (0.5 + kind / 3) + np.abs(v) ** (0.5 + kind / 3) < rng.uniform(0.2, 0.5))[..., None]
        pixels = np.where(inside, *rng.integers(0, 256, (2, 3))) + rng.normal(0, 5, (32, 32, 3))
        part = "train" if number < 250 else "val"
        name = f"thing-{number:03d}"
        records.append(
            Record(name, f"kind-{kind}", stored_png(pixels.clip(0, 255).astype(np.uint8)), source_split=part)
        )
    write_shards(records, folder / "images", "things")


@dataclass(frozen=True)
class Level:
    """One level: its images, whom the request means, and a recipe that takes seconds."""

    make: Any
    selector: dict[str, list[str]]
    num_forget: int
    image_size: int
    num_channels: int
    architecture: dict[str, Any]
    pretrain: dict[str, Any]
    unlearn: dict[str, Any]


WIDE = {"hidden_size": 64, "num_hidden_layers": 1, "decoder_hidden_size": 64}  # narrower ones do not learn digits
LEVELS = {
    "class": Level(
        digits,
        {"labels": ["1"]},
        75,
        28,
        1,
        WIDE,
        {"num_steps": 400, "learning_rate": 0.005, "batch_size": 16},
        {"alpha": 2.0},
    ),
    "subject": Level(photos, {"subjects": ["chelsea"]}, 94, 32, 3, {}, {}, {}),
    # Single images look like the others of their class: to tell them apart takes longer and needs larger steps.
    "sample": Level(things, {"sample_ids": SINGLE}, 50, 32, 3, {}, {"num_steps": 300}, {"num_steps": 120}),
}


@pytest.fixture(scope="module", params=LEVELS)
def level(request, tmp_path_factory, bare_project):
    """(level, project) after split, pretrain and unlearn."""
    chosen = LEVELS[request.param]
    project = type(bare_project)(tmp_path_factory.mktemp(request.param))
    chosen.make(project.folder / "data")
    (project.folder / "data/forget").mkdir(exist_ok=True)
    (project.folder / "hmac.key").write_text(Path(bare_project.key).read_text())
    asked = make_request(
        id="asked",
        received=RECEIVED,
        due=one_month_after(RECEIVED),
        basis="test",
        selector={key: tuple(values) for key, values in chosen.selector.items()},
    )
    write_request(asked, project.folder / "data/forget/asked.yaml")
    config = project.config("split", requests=["asked"])
    split.run(project.images, project.requests, project.splits, config, hmac_key_file=project.key)
    architecture = {
        **project.params()["pretrain"]["architecture"],
        "patch_size": chosen.image_size // 4,
        **chosen.architecture,
    }
    recipe = {"num_steps": 150, "batch_size": 32, "learning_rate": 0.003, "architecture": architecture}
    size = {"image_size": chosen.image_size, "num_channels": chosen.num_channels}
    pretrain.run(
        project.images, project.artifact("original"), project.config("pretrain", **recipe | size | chosen.pretrain)
    )
    teacher = project.artifact("original/model")
    recipe = {"num_steps": 60, "batch_size": 32, "alpha": 1.0, "learning_rate": 0.002}
    config = project.config("unlearn", **recipe | chosen.unlearn)
    unlearn.run(project.images, project.splits, teacher, project.artifact("unlearned"), config)
    return chosen, project


def hole_psnr(level, project, model, role):
    """Of the set's mean squared error in the hole, pixels in [0, 1], in dB."""
    rows = read_manifest(project.splits / "manifest.parquet").of(role)
    size = (level.image_size, level.image_size)
    images = load_pixels(project.images, rows, image_size=size, num_channels=level.num_channels, description="")
    visible = make_operator("center_hole", 0.75, 4).draw(len(images), *size, torch.Generator())
    with torch.no_grad():
        completed = load_model(model).complete(to_float(images), visible, generator=None)
    wrong = ((completed - to_float(images)) / 2).square().mean(1)[~visible]
    return -10 * math.log10(float(wrong.mean()))


def test_exactly_those_who_are_meant_are_to_be_forgotten(level):
    chosen, project = level
    manifest = read_manifest(project.splits / "manifest.parquet")
    index = read_index(project.images).set_index(["shard", "row"])
    ((column, wanted),) = chosen.selector.items()
    values = index.loc[list(zip(manifest.rows["shard"], manifest.rows["row"], strict=True)), column.rstrip("s")]
    meant = values.isin(wanted).to_numpy()
    assert (meant == manifest.rows["role"].isin(["forget", "forget_holdout"]).to_numpy()).all()
    assert len(manifest.of("forget")) == pytest.approx(chosen.num_forget, rel=0.15)  # a part is held out by draw


def test_the_forget_score_falls_more_than_the_retain_score(level):
    chosen, project = level
    fall = {
        role: hole_psnr(chosen, project, project.artifact("original/model"), role)
        - hole_psnr(chosen, project, project.artifact("unlearned/model"), role)
        for role in ("forget", "retain")
    }
    assert fall["forget"] > 0.3, fall
    assert fall["forget"] > fall["retain"] + 0.2
