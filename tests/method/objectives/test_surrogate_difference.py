from dataclasses import replace

import pytest
import torch

from i2i_unlearn.method.objectives.base import Phase, Settings
from i2i_unlearn.method.objectives.surrogate_difference import SurrogateDifference
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.support.errors import UserError
from tests.support.measured import rows_of

SETTINGS = Settings(alpha=2.0, first_phase=0.4)


class Pixels(torch.nn.Module):
    """A model whose loss is the mean squared difference between one number and the truth."""

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(0.5))

    def training_loss(self, images_BCHW, visible_BHW, *, generator, truth_BCHW=None):
        truth = images_BCHW if truth_BCHW is None else truth_BCHW
        return (self.value - truth).square().flatten(1).mean(1)


def plain(batches, **values):
    """The batches with every pixel at one value."""
    return {
        name: replace(batches[name], images_BCHW=torch.full((4, 1, 16, 16), value)) for name, value in values.items()
    }


class Given:
    """Targets that are written down."""

    def __init__(self, value):
        self.value = value

    def surrogate(self, batch):
        return torch.full_like(batch.images_BCHW, self.value)

    def outputs(self, name, batch):
        assert name == "retain"
        return torch.full_like(batch.images_BCHW, self.value)


# Value 0.5: retain (0.5 - 1)^2 = 0.25, gradient -1; forget, sent to -0.5, (0.5 + 0.5)^2 = 1. The push: 0.25 + 2 * 1,
# gradient 2 (0.5 - 1) + 2 * 2 (0.5 + 0.5) = 3; the repair: the retain term alone.
@pytest.mark.parametrize(
    ("phase", "expected", "total", "gradient"),
    [("push", {"retain": 0.25, "forget": 1.0}, 2.25, 3.0), ("repair", {"retain": 0.25}, 0.25, -1.0)],
)
def test_both_phases_by_hand(batches_of, state_of, phase, expected, total, gradient):
    student, objective, state = Pixels(), SurrogateDifference(SETTINGS), state_of(0, phase)
    terms = objective.terms(plain(batches_of(), retain=1.0, forget=0.9), student, Given(-0.5), state)
    assert {name: term.item() for name, term in terms.items()} == expected
    assert objective.backward(terms, student.parameters(), state).item() == total
    assert student.value.grad.item() == gradient


def repair_of(num_steps):
    return Phase("repair", num_steps)


def test_the_repair_keeps_to_the_teacher_by_half_of_what_the_push_was_shortened():
    """60 of 240 steps planned; none, 15 and 45 of them left out: the repair has 180, 195 and 225."""
    few = [SurrogateDifference(replace(SETTINGS, first_phase=0.25, most_first_steps=most)) for most in (0, 90, 45, 15)]
    assert [one.follow(repair_of(steps)) for one, steps in zip(few, (180, 180, 195, 225), strict=True)] == [
        0, 0, 0.125, 0.375,
    ]  # fmt: skip


# The teacher paints -0.5, three quarters of the push were left out: the truth of the repair is 5/8 * 1 - 3/8 * 0.5 =
# 0.4375, the loss (0.5 - 0.4375)^2.
def test_a_repair_after_a_short_push_by_hand(batches_of, state_of):
    objective = SurrogateDifference(replace(SETTINGS, first_phase=0.25, most_first_steps=15))
    batches, state = plain(batches_of(), retain=1.0, forget=0.9), replace(state_of(0, "repair"), phase=repair_of(225))
    assert objective.terms(batches, Pixels(), Given(-0.5), state)["retain"].item() == 0.00390625
    drawing = {name: replace(batch, draws=(torch.zeros(4),)) for name, batch in batches.items()}
    assert objective.terms(drawing, Pixels(), Given(-0.5), state)["retain"].item() == 0.25  # it paints at random


def test_the_target_of_a_batch_is_that_of_its_rows(targets_of, sets, batches_of):
    batch = batches_of()["forget"]
    assert targets_of(None).surrogate(batch).equal(to_float(255 - sets["forget"][batch.rows_B]))


def test_forget_images_matter_in_the_push_and_not_in_the_repair(tiny_model, targets_of, batches_of, state_of):
    def terms(phase, forget_seed):
        objective = SurrogateDifference(SETTINGS)
        batches = batches_of(forget_seed=forget_seed)
        return objective.terms(batches, tiny_model(1), targets_of(None), state_of(0, phase))

    push, repair = terms("push", 0), terms("repair", 0)
    assert terms("push", 1)["forget"] != push["forget"]
    assert terms("push", 1)["retain"] == push["retain"]
    assert terms("repair", 1) == repair
    assert set(repair) == {"retain"}


# --- through the stage ---

RUN = {"objective": "surrogate_difference", "alpha": 2.0, "first_phase": 0.4, "surrogate_rank": 64}


@pytest.fixture(scope="module")
def splits(taught, tmp_path_factory):
    """Half of the holdout set is set aside for the surrogate's calibration."""
    return taught.split(tmp_path_factory.mktemp("unseen") / "splits", unseen_target_fraction=0.5)


def test_the_stage_pushes_and_repairs(taught, splits, tmp_path):
    taught.unlearn(tmp_path / "out", splits=splits, **RUN)
    rows = rows_of(tmp_path / "out")
    assert [row["phase"] for row in rows] == ["push"] * 12 + ["repair"] * 18
    assert all("forget" in row for row in rows[:12])
    assert not any("forget" in row for row in rows[12:])
    assert rows[11]["forget"] < rows[0]["forget"]  # it goes where it is sent
    assert rows[-1]["retain"] < rows[11]["retain"]  # and the repair repairs


def test_the_push_ends_when_each_image_was_shown_often_enough(taught, splits, tmp_path):
    """34 forget images in batches of 16, twice each: 68 / 16 = 4.25 batches."""
    facts = taught.unlearn(tmp_path / "out", splits=splits, **{**RUN, "push_visits": 2.0})
    assert facts["num_forget"] == 34
    rows = rows_of(tmp_path / "out")
    assert [row["phase"] for row in rows] == ["push"] * 5 + ["repair"] * 25


@pytest.mark.parametrize("key", ["surrogate_strength", "surrogate_own", "surrogate_rank"])
def test_each_setting_changes_the_result(taught, splits, tmp_path, key):
    changed = {"surrogate_strength": 1.0, "surrogate_own": 4.0, "surrogate_rank": 7}
    common = {**RUN, "num_steps": 3}
    one = taught.unlearn(tmp_path / "one", splits=splits, **common)
    other = taught.unlearn(tmp_path / "other", splits=splits, **{**common, key: changed[key]})
    assert one["model_sha256"] != other["model_sha256"]
    assert one["model_sha256"] == taught.unlearn(tmp_path / "again", splits=splits, **common)["model_sha256"]


def test_without_never_seen_images_there_is_nothing_to_calibrate_by(taught, tmp_path):
    with pytest.raises(
        UserError, match=r"no image of the role unseen_target.*set split.unseen_target_fraction above 0, .*encoder_l2"
    ):
        taught.unlearn(tmp_path / "out", **RUN)


def test_masks_that_differ_are_refused_before_the_training(taught, splits, tmp_path):
    with pytest.raises(UserError, match="operator with a fixed mask, or set unlearn.objective to encoder_l2"):
        taught.unlearn(tmp_path / "out", splits=splits, operator="random_patches", **RUN)
    assert not (tmp_path / "out").exists()
