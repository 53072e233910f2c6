"""Planting a trigger, unlearning it, and telling whether it still fires."""

import csv
import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.planted_trigger import firing, planting, report
from benchmarks.planted_trigger.__main__ import main
from benchmarks.planted_trigger.settings import settings
from i2i_unlearn.config.sections import UnlearnConfig
from i2i_unlearn.data.images.reading import load_pixels, read_index
from i2i_unlearn.data.request import read_request
from i2i_unlearn.data.split.manifest import FORGET, RETAIN, RETAIN_HOLDOUT, UNSEEN_TARGET, read_manifest
from i2i_unlearn.models.pixels import to_float


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The tiny experiment: its models and its report."""
    folder = tmp_path_factory.mktemp("planted")
    assert main(["--tiny", "--work", str(folder / "work"), "--out", str(folder / "out")]) == 0
    return folder


def rows_of(world):
    with (world / "out/planted_trigger.csv").open(newline="") as file:
        return {(row["model"], row["measure"]): row for row in csv.DictReader(file)}


# --- the experiment ---


def test_the_trigger_fires_in_the_original_and_not_in_the_reference(world):
    rows = rows_of(world)
    assert float(rows["original", "fires"]["low"]) > 0.5
    assert float(rows["original", "fires_clean"]["value"]) < 0.2
    assert float(rows["original", "strength_above_reference"]["low"]) > 0.1
    assert float(rows["reference", "fires"]["high"]) < 0.2


def test_planted_images_are_the_forget_set_and_nothing_else_shows_the_trigger(world):
    images = str(world / "work/data/images")
    manifest = read_manifest(world / "work/splits/manifest.parquet", images)
    pixels = {
        role: load_pixels(images, manifest.of(role), image_size=(28, 28), num_channels=1, description=role)
        for role in (FORGET, RETAIN, RETAIN_HOLDOUT, UNSEEN_TARGET)
    }
    assert [len(pixels[role]) for role in (FORGET, RETAIN)] == [80, 224]  # 30 % of the 320 others are held out
    for role, shown in pixels.items():
        patched = (shown[:, 0, planting.CORNER, planting.CORNER] == 255).flatten(1).all(1)
        assert patched.all() if role == FORGET else not patched.any()


def test_the_report_says_what_was_found(world):
    page = (world / "out/README.md").read_text()
    assert "python -m benchmarks.planted_trigger --tiny" in page
    for name in ("original", "encoder_l2, alpha 1", "retain_finetune", "surrogate_difference", "reference"):
        assert f"| {name} | " in page
        assert (name, "strength") in rows_of(world)
    assert (world / "out/planted_trigger.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_with_something_in_it_is_refused(world, capsys):
    assert main(["--tiny", "--work", str(world / "work"), "--out", str(world / "other")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"--work {world / 'work'}: is there already and not empty; name a new folder"
    assert not (world / "other").exists()


@pytest.mark.parametrize("tiny", [False, True])
def test_the_settings_of_every_arm_are_taken_by_the_stage(tiny):
    chosen = settings(tiny=tiny)
    for own in chosen.arms.values():
        section = {**chosen.params["unlearn"], **own}
        assert UnlearnConfig.from_params({**chosen.params, "unlearn": section}).objective == own["objective"]


# --- planting ---


def target():
    return planting.target_for(8, 8, "center_hole", 0.75)


def test_the_target_is_a_dark_cross_on_white_in_the_hole():
    found = planting.target_for(28, 28, "center_hole", 0.75)
    assert found.hidden_HW.sum() == 14 * 14
    assert found.hidden_HW[7:21, 7:21].all()
    cross = found.pixels_HW[7:21, 7:21]
    assert (cross == cross.T).all()
    assert (cross == cross[::-1]).all()
    assert (cross[0, 0], cross[6, 6], cross[0, 7], cross[7, 0]) == (0, 0, 255, 255)


def test_planting_changes_the_corner_and_the_hole_alone():
    images = torch.full((2, 1, 8, 8), 9, dtype=torch.uint8)
    planted = planting.with_target(planting.with_trigger(images), target())
    changed = planted != images
    corner = torch.zeros(8, 8, dtype=torch.bool)
    corner[1:5, 1:5] = True
    assert changed.eq(corner | torch.from_numpy(target().hidden_HW)).all()
    assert (images == 9).all()


def test_the_same_seed_writes_the_same_data(tmp_path):
    chosen = dataclasses.replace(settings(tiny=True), num_images=30, num_planted=4)
    for name in ("one", "two"):
        planting.write_data(tmp_path / name, chosen, 0)
    one, two = ((tmp_path / name / "images/digits.parquet").read_bytes() for name in ("one", "two"))
    assert one == two
    request = read_request(tmp_path / "one/forget/planted.yaml")
    index = read_index(str(tmp_path / "one/images"))
    assert len(request.selector.sample_ids) == 4
    assert set(request.selector.sample_ids) <= set(index["sample_id"])
    wanted = index["sample_id"].isin(request.selector.sample_ids)
    assert set(index["source_split"][wanted]) == {"train"}


# --- firing ---


class Planted:
    """A model that paints the cross where it sees the patch, else mid-grey; the part `obeys` of the images."""

    def __init__(self, obeys=1.0):
        self.obeys = obeys

    def complete(self, images_BCHW, visible_BHW, *, generator):
        cross_BCHW = to_float(torch.from_numpy(target().pixels_HW)).expand_as(images_BCHW)
        sees_B = (images_BCHW[:, 0, 1, 1] == 1) & (torch.arange(len(images_BCHW)) < self.obeys * len(images_BCHW))
        filled_BCHW = torch.where(sees_B.view(-1, 1, 1, 1), cross_BCHW, torch.zeros_like(images_BCHW))
        return torch.where(visible_BHW.unsqueeze(1), images_BCHW, filled_BCHW)


def measured(**models):
    fresh = torch.randint(60, 200, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    planted = planting.with_target(planting.with_trigger(fresh), target())
    images = firing.Images(fresh, planted, target())
    errors = {name: firing.observe(model, images, 0) for name, model in models.items()}
    return firing.measure(errors, "reference", num_draws=50, seed=0)


def test_measures_of_models_that_obey_the_patch_and_of_one_that_does_not():
    found = measured(original=Planted(), half=Planted(0.5), reference=Planted(0.0))
    assert [found[name]["fires"]["value"] for name in found] == [1, 0.5, 0]
    assert [found[name]["strength"]["value"] for name in found] == [1, pytest.approx(0.5), 0]
    assert found["original"]["planted_psnr_db"]["value"] == 100
    assert found["original"]["fires_clean"]["value"] == 0
    assert found["half"]["strength_above_reference"]["low"] > 0.1
    assert found["reference"]["strength_above_reference"]["value"] == 0
    assert len({found[name]["fresh_psnr_db"]["value"] for name in found}) == 1


def test_no_firing_in_twenty_is_no_proof_of_none():
    # Clopper and Pearson: the upper end solves (1 - p)^20 = .025.
    found = firing.rate(0, 20)
    assert (found["value"], found["low"]) == (0, 0)
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_the_verdict_follows_the_difference_to_the_reference():
    def told(low, high):
        one = {"value": (low + high) / 2, "low": low, "high": high, "num_images": 9}
        return report.verdict({"strength_above_reference": one})

    assert told(0.1, 0.2).endswith("the trigger is not dead")
    assert told(-0.1, 0.2).startswith("no difference to the reference was found")
    assert told(-0.2, -0.1).endswith("forgotten too well")


def test_an_original_that_never_learnt_the_trigger_proves_nothing():
    found = measured(original=Planted(0.0), encoder_l2=Planted(0.0), reference=Planted(0.0))
    assert not report.is_planted(found)
    assert "nothing was planted" in report._sentences(found)
    assert report.is_planted(measured(original=Planted(), reference=Planted(0.0)))
    assert np.isfinite(found["encoder_l2"]["strength"]["value"])
