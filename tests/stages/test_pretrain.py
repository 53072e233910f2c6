import json
import math

import pytest
import torch

from i2i_unlearn.data.images.canaries import choose_canaries
from i2i_unlearn.data.images.holdout import training_part
from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.stages import pretrain
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from tests.support.measured import rows_of


def run(project, out, **changes):
    changes = {"num_steps": 6, **changes}
    pretrain.run(project.images, out, project.config("pretrain", **changes))
    return (out / "model/model.safetensors").read_bytes()


def refused(project, out, **changes):
    with pytest.raises(UserError) as error:
        run(project, out, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_it_writes_a_model_its_curve_and_its_facts(taught):
    out = taught.artifact("original")
    assert sorted(path.name for path in out.iterdir()) == ["model", "steps.jsonl", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["model_sha256"] == digest_folder(out / "model")
    assert summary["steps"] == 200
    assert summary["resumed_from_step"] == 0
    assert summary["config_digest"] == taught.config("pretrain").digest()
    assert summary["seconds"] > 0
    assert summary["peak_memory_bytes"] > 2**20
    assert not list((taught.folder / "checkpoints").iterdir())  # the run is complete


def test_the_loss_goes_down(taught):
    rows = rows_of(taught.artifact("original"))
    assert [row["step"] for row in rows] == list(range(1, 201))
    assert sum(row["loss"] for row in rows[-5:]) < 0.2 * sum(row["loss"] for row in rows[:5])


def test_it_completes_held_out_images_better_than_the_mean_image_does(taught):
    config = taught.config("pretrain")
    index = read_index(taught.images)
    part = training_part(index, holdout_fraction=config.holdout_fraction, seed=config.seed)
    pixels = {
        name: to_float(
            load_pixels(
                taught.images,
                index[part == name].reset_index(drop=True),
                image_size=(16, 16),
                num_channels=1,
                description="",
            )
        )
        for name in ("train", "holdout")
    }
    held_out = pixels["holdout"]
    visible = make_operator("center_hole", 0.75, 4).draw(len(held_out), 16, 16, torch.Generator())
    with torch.no_grad():
        completed = load_model(taught.artifact("original/model")).complete(held_out, visible, generator=None)
    hole = ~visible.unsqueeze(1)
    error = (completed - held_out)[hole].square().mean()
    error_of_mean = (pixels["train"].mean(0) - held_out)[hole].square().mean()
    assert error < error_of_mean / 3


@pytest.mark.parametrize("changes", [{}, {"architecture": {"hidden_dropout_prob": 0.2}}], ids=str)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(bare_project, tmp_path, changes):
    one = run(bare_project, tmp_path / "one", **changes)
    torch.manual_seed(123)  # the global stream has no part in it
    assert run(bare_project, tmp_path / "again", **changes) == one
    assert (tmp_path / "one/steps.jsonl").read_bytes() == (tmp_path / "again/steps.jsonl").read_bytes()
    assert run(bare_project, tmp_path / "other", seed=1, **changes) != one


def test_held_out_images_are_never_read(taught, damage_images, tmp_path):
    # Part train has these roles only: images of other roles cannot be read here.
    images = damage_images(taught, tmp_path / "images", taught.splits, keep=("forget", "retain"))
    pretrain.run(images, tmp_path / "out", taught.config("pretrain", num_steps=3))
    assert json.loads((tmp_path / "out/summary.json").read_text())["num_images"] == 89


@pytest.mark.parametrize(
    "changes",
    [
        {"operator": "random_patches", "keep_fraction": 0.5},
        {"operator": "free_form"},
        {"operator": "outpaint", "keep_fraction": 0.25},
        {"operator": "half_right", "keep_fraction": 0.5},
        {"precision": "bf16"},
        {"average_decay": 0.9},
        {"clip_norm": 0.0},
        {"batch_size": 200},  # more than there are images
        {"warmup_steps": 0},
        {"architecture": {"norm_pix_loss": True}},
        {"architecture": {"hidden_dropout_prob": 0.2}},
        {"num_channels": 3},
    ],
    ids=str,
)
def test_every_way_of_training_trains(bare_project, tmp_path, changes):
    run(bare_project, tmp_path / "out", **changes)
    totals = [row["total"] for row in rows_of(tmp_path / "out")]
    assert len(totals) == 6
    assert all(map(math.isfinite, totals))
    load_model(tmp_path / "out/model")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"family": "gan"}, "family='gan' is not known; choose one of: mae"),
        ({"operator": "crop"}, "operator='crop' is not known; choose one of: center_hole"),
        ({"image_size": 18}, "image_size=18 is not a multiple of patch_size=4"),
        ({"operator": "random_patches", "operator_patch_size": 5}, "operator_patch_size=5 does not divide"),
        ({"keep_fraction": 0.01}, "leaves no patch of 4 px wholly visible"),
        ({"learning_rate": 1e30, "num_steps": 50}, "the loss is not finite"),
        ({"checkpoint_uri": "nosuch://x"}, "give a folder or an fsspec URI"),
    ],
    ids=str,
)
def test_wrong_settings_leave_the_earlier_output_untouched(bare_project, tmp_path, changes, told):
    out = tmp_path / "original"
    (out / "model").mkdir(parents=True)
    (out / "model/config.json").write_text("earlier")
    assert told in refused(bare_project, out, **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["original"]
    assert (out / "model/config.json").read_text() == "earlier"


def test_missing_images_are_told_with_the_command_that_brings_them(bare_project, tmp_path):
    with pytest.raises(UserError, match="`i2i-unlearn data embedded digits --out data`"):
        pretrain.run(str(tmp_path / "nowhere"), tmp_path / "out", bare_project.config("pretrain"))


def test_a_damaged_image_is_named_by_shard_and_row(taught, damage_images, tmp_path):
    images = damage_images(taught, tmp_path / "images", taught.splits, keep=("forget",))
    with pytest.raises(UserError, match=r"tiny\.parquet row \d+ does not match its sha256"):
        pretrain.run(images, tmp_path / "out", taught.config("pretrain"))
    assert not (tmp_path / "out").exists()


def test_nothing_to_train_on_is_told(bare_project, images_written, tmp_path):
    import numpy as np

    from i2i_unlearn.data.images.shards import Record, write_shards
    from i2i_unlearn.data.importers.embedded import stored_png

    record = Record("one", "a", stored_png(np.zeros((16, 16), np.uint8)), source_split="val")
    write_shards([record], tmp_path / "images", "val")
    with pytest.raises(UserError, match="train"):
        pretrain.run(str(tmp_path / "images"), tmp_path / "out", bare_project.config("pretrain"))


def test_canaries_enter_by_their_coins_and_none_leaves_the_settings_as_they_were(tiny, tmp_path):
    config = tiny.config("pretrain")
    assert (
        tiny.config("pretrain", canaries=0).digest() == config.digest() != tiny.config("pretrain", canaries=8).digest()
    )
    index = read_index(tiny.images)
    plain = training_part(index, holdout_fraction=config.holdout_fraction, seed=config.seed)
    drawn = choose_canaries(index, num=8, holdout_fraction=config.holdout_fraction, seed=config.seed)
    run(tiny, tmp_path / "out", num_steps=1, canaries=8)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["num_images"] == (plain == "train").sum() + drawn.included.sum()
    assert 0 < drawn.included.sum() < 8
