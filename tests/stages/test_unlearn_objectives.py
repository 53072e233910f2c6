"""Every objective through the stage: it forgets, it retains, and it reads the images that it says it needs."""

import json
import math

import pytest
import torch

from i2i_unlearn.models import load_model
from i2i_unlearn.stages import unlearn
from i2i_unlearn.support.errors import UserError
from tests.support.measured import error_growth, rows_of

SETTINGS = {
    "max_loss": {"alpha": 0.3},
    "noisy_label": {"alpha": 0.5},
    "retain_label": {"alpha": 0.5},
    "random_encoder": {"alpha": 2.0},
    "retain_finetune": {"learning_rate": 0.004, "num_steps": 60},  # nothing but time makes it forget
    "epsilon_constraint": {"epsilon": 0.3, "first_phase": 0.3},
    "ascent_repair": {"alpha": 1.0, "first_phase": 0.3},
    "heldout_like": {"alpha": 2.0},
}


@pytest.fixture(scope="module")
def splits(taught, tmp_path_factory):
    """Half of the holdout set is set aside as targets."""
    return taught.split(tmp_path_factory.mktemp("unseen") / "splits", unseen_target_fraction=0.5)


@pytest.fixture(scope="module")
def unlearned(taught, splits, tmp_path_factory):
    """`unlearned(name)`: the output of a run of that objective, made once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "out"
            taught.unlearn(made[name], splits=splits, objective=name, **SETTINGS[name])
        return made[name]

    return make


@pytest.mark.parametrize("name", SETTINGS)
def test_it_forgets_more_than_it_harms_the_rest_and_writes_a_finite_curve(taught, unlearned, name):
    increase = error_growth(taught, unlearned(name) / "model")
    assert increase["forget"] > 1.15
    assert increase["forget"] > 1.15 * increase["retain"]
    assert increase["forget_holdout"] > increase["retain_holdout"]
    rows = rows_of(unlearned(name))
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert rows[-1]["retain"] >= 0
    assert json.loads((unlearned(name) / "summary.json").read_text())["objective"] == name


# --- two phases ---


def test_the_constraint_ends_where_epsilon_says(unlearned):
    rows = rows_of(unlearned("epsilon_constraint"))
    phases = [row["phase"] for row in rows]
    assert phases == ["boundary"] * 9 + ["constraint"] * 21
    start, boundary, end = rows[0]["forget"], rows[8]["forget"], rows[-1]["forget"]
    share = (end - boundary) / (start - boundary)
    assert share < 0.45  # 0.3 and what one batch differs from another


def test_a_larger_epsilon_leaves_more_and_harms_less(taught, tmp_path):
    last = {}
    for epsilon in (0.0, 0.8):
        settings = {"epsilon": epsilon, "first_phase": 0.3, "num_steps": 60, "learning_rate": 0.002}
        taught.unlearn(tmp_path / str(epsilon), objective="epsilon_constraint", **settings)
        last[epsilon] = rows_of(tmp_path / str(epsilon))[-1]
    assert last[0.8]["forget"] > 1.15 * last[0.0]["forget"]
    assert last[0.8]["retain"] < last[0.0]["retain"]


def test_the_repair_begins_where_the_ascent_has_gone_far_enough(taught, tmp_path):
    lengths = []
    for alpha in (0.0, 0.1, 1000.0):
        settings = {"alpha": alpha, "first_phase": 0.5, "num_steps": 30}
        taught.unlearn(tmp_path / str(alpha), objective="ascent_repair", **settings)
        lengths.append(sum("forget" in row for row in rows_of(tmp_path / str(alpha))))
    assert lengths[0] == 0  # nothing but repair
    assert 0 < lengths[1] < 15
    assert lengths[2] == 15  # the first phase bounds it


def test_an_ascent_of_no_length_is_finetuning(taught, tmp_path):
    common = {"alpha": 0.0, "num_steps": 4}
    for name in ("ascent_repair", "retain_finetune"):
        taught.unlearn(tmp_path / name, objective=name, **common)
    one, other = (load_model(tmp_path / name / "model").state_dict() for name in ("ascent_repair", "retain_finetune"))
    assert all(torch.allclose(tensor, other[key], atol=1e-6) for key, tensor in one.items())


# --- which images are read ---


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("retain_finetune", ("retain",)),
        ("max_loss", ("retain", "forget")),
        ("heldout_like", ("retain", "forget", "unseen_target")),
    ],
)
def test_no_image_is_read_but_those_of_the_sets_it_needs(taught, splits, damage_images, tmp_path, name, kept):
    images = damage_images(taught, tmp_path / "images", splits, keep=kept)
    config = taught.config("unlearn", objective=name, num_steps=3)
    for folder, source in (("damaged", images), ("whole", taught.images)):
        unlearn.run(source, splits, taught.teacher, tmp_path / folder, config)
    one, other = ((tmp_path / folder / "model/model.safetensors").read_bytes() for folder in ("damaged", "whole"))
    assert one == other
    for role in kept:  # and this is what touching one does
        without = damage_images(taught, tmp_path / role, splits, keep=tuple(set(kept) - {role}))
        with pytest.raises(UserError, match="does not match its sha256"):
            unlearn.run(without, splits, taught.teacher, tmp_path / "none", config)


def test_without_unseen_images_it_says_what_to_set(taught, tmp_path):
    with pytest.raises(UserError, match=r"no image of the role unseen_target.*set split\.unseen_target_fraction"):
        taught.unlearn(tmp_path / "out", objective="heldout_like")
