import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from i2i_unlearn.models import load_model
from i2i_unlearn.stages import unlearn
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder
from i2i_unlearn.training.checkpoints import Checkpoints
from tests.models.samples import edit_json, edit_tensors
from tests.support.measured import error_growth, hole_error, rows_of


def weights_of(out):
    return (out / "model/model.safetensors").read_bytes()


# --- what it writes ---


def test_it_writes_a_model_its_curve_and_its_facts(tiny):
    out = tiny.artifact("unlearned")
    assert sorted(path.name for path in out.iterdir()) == ["model", "steps.jsonl", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["model_sha256"] == digest_folder(out / "model")
    assert summary["teacher_sha256"] == digest_folder(tiny.teacher)
    assert summary["manifest_sha256"] == digest_file(tiny.splits / "manifest.parquet")
    assert summary["config_digest"] == tiny.config("unlearn").digest()
    assert (summary["objective"], summary["alpha"], summary["device"]) == ("encoder_l2", 2.0, "cpu")
    assert (summary["steps"], summary["resumed_from_step"], summary["num_forget"]) == (30, 0, 34)
    assert summary["seconds"] > 0
    assert summary["peak_memory_bytes"] > 2**20
    assert not list((tiny.folder / "checkpoints").iterdir())  # the run is complete


def test_the_curve_has_both_terms_and_their_weighted_sum(tiny):
    rows = rows_of(tiny.artifact("unlearned"))
    assert [row["step"] for row in rows] == list(range(1, 31))
    for row in rows:
        assert row["total"] == pytest.approx(row["retain"] + 2.0 * row["forget"], rel=1e-6)
    assert rows[0]["retain"] < 1e-10  # the student starts as the teacher
    assert rows[0]["forget"] > 0.01


def test_rows_are_streamed_while_it_runs(taught, tmp_path):
    received = []
    config = taught.config("unlearn", num_steps=4)
    unlearn.run(taught.images, taught.splits, taught.teacher, tmp_path / "out", config, stream=received.append)
    assert received == rows_of(tmp_path / "out")


# --- what it does ---


def test_training_forgets(tiny):
    rows = rows_of(tiny.artifact("unlearned"))
    assert rows[-1]["forget"] < 0.6 * rows[0]["forget"]  # on the way to encoded noise
    teacher, model = tiny.teacher, tiny.artifact("unlearned/model")
    for roles in (("forget",), ("forget_holdout",)):
        assert hole_error(tiny, model, *roles) > 2 * hole_error(tiny, teacher, *roles)


def test_training_longer_retains_more_than_it_forgets(taught, tmp_path):
    taught.unlearn(tmp_path / "out", num_steps=150)
    increase = error_growth(taught, tmp_path / "out/model")
    assert increase["forget"] > 3 * increase["retain"]
    assert increase["forget_holdout"] > 2 * increase["retain_holdout"]


def test_a_larger_alpha_forgets_more(taught, tmp_path):
    last = {}
    for alpha in (0.05, 5.0):
        taught.unlearn(tmp_path / str(alpha), alpha=alpha)
        last[alpha] = rows_of(tmp_path / str(alpha))[-1]
    assert last[5.0]["forget"] < last[0.05]["forget"]
    assert last[5.0]["retain"] > last[0.05]["retain"]


def test_the_teacher_is_left_alone(taught, tmp_path, monkeypatch):
    loaded = []

    def listen(folder, own):
        loaded.append(load_model(folder, own))
        return loaded[-1]

    monkeypatch.setattr(unlearn, "load_model", listen)
    before = digest_folder(taught.teacher)
    taught.unlearn(tmp_path / "out", num_steps=5)
    (teacher,) = loaded  # the very object that gave the targets
    assert digest_folder(taught.teacher) == before
    fresh = load_model(taught.teacher).state_dict()
    assert all(tensor.equal(fresh[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training


def test_the_decoder_is_the_teachers_to_the_bit_and_no_tensor_of_the_encoder_is(tiny):
    old, new = (load_file(folder / "model.safetensors") for folder in (tiny.teacher, tiny.artifact("unlearned/model")))
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        constant = name == "vit.embeddings.position_embeddings"
        kept = name.startswith("decoder.") or constant
        assert tensor.equal(new[name]) == kept, name
    assert (tiny.teacher / "config.json").read_bytes() == tiny.artifact("unlearned/model/config.json").read_bytes()


# --- repeatable ---


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(taught, tiny, tmp_path):
    torch.manual_seed(123)  # the global stream has no part in it
    taught.unlearn(tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(tiny.artifact("unlearned"))
    steps = [(folder / "steps.jsonl").read_bytes() for folder in (tmp_path / "again", tiny.artifact("unlearned"))]
    assert steps[0] == steps[1]
    taught.unlearn(tmp_path / "other", seed=1)
    assert weights_of(tmp_path / "other") != weights_of(tiny.artifact("unlearned"))


def test_the_cache_changes_speed_and_nothing_else(taught, tmp_path):
    cached, recomputed = (
        taught.unlearn(tmp_path / str(size), cache_bytes=size, num_steps=10) and load_model(tmp_path / f"{size}/model")
        for size in (10**9, 0)
    )
    other = recomputed.state_dict()
    for name, tensor in cached.state_dict().items():
        assert torch.allclose(tensor, other[name], atol=1e-3), name


def test_the_key_of_sample_ids_enters_no_weight(taught, tmp_path):
    from i2i_unlearn.data.split.codes import create_key
    from i2i_unlearn.stages import split

    create_key(str(tmp_path / "other.key"))
    config = taught.config("split")
    split.run(taught.images, taught.requests, tmp_path / "splits", config, hmac_key_file=str(tmp_path / "other.key"))
    assert digest_folder(tmp_path / "splits") != digest_folder(taught.splits)
    for name, splits in (("one", taught.splits), ("other", tmp_path / "splits")):
        taught.unlearn(tmp_path / name, splits=splits, num_steps=3)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "other")


def test_a_checkpoint_of_other_inputs_is_not_used(taught, tmp_path, monkeypatch):
    # A run that was killed after its last step leaves its checkpoint, as this one does.
    monkeypatch.setattr(Checkpoints, "delete", lambda self: None)
    common = {"checkpoint_uri": str(tmp_path / "checkpoints"), "checkpoint_every_steps": 2, "num_steps": 4}

    def resumed_from(**changes):
        return taught.unlearn(tmp_path / "out", **{**common, **changes})["resumed_from_step"]

    assert resumed_from() == 0
    assert resumed_from() == 4
    assert resumed_from(checkpoint_every_steps=1) == 4  # how often it is written decides no result
    assert resumed_from(alpha=2.5) == 0
    assert resumed_from(splits=taught.split(tmp_path / "splits", retain_cap_per_class=5)) == 0
    teacher = shutil.copytree(taught.teacher, tmp_path / "teacher")
    edit_json(teacher / "preprocessor_config.json", image_mean=[0.4])
    assert resumed_from(teacher=teacher) == 0


# --- every choice runs ---


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_covariance": covariance, "noise_mean": mean, "num_noise_draws": draws}
        for covariance in ("identity", "diagonal", "full")
        for mean in ("zero", "forget")
        for draws in (0, 8)
    ]
    + [
        {"operator": "random_patches", "keep_fraction": 0.5},
        {"operator": "free_form"},
        {"operator": "free_form", "noise_covariance": "full", "cache_bytes": 0},
        {"operator": "outpaint", "keep_fraction": 0.25},
        {"operator": "half_up", "keep_fraction": 0.5},
        {"precision": "bf16"},
        {"precision": "bf16", "operator": "free_form", "num_noise_draws": 0},
        {"batch_size": 300},  # more than there are images
        {"cache_bytes": 5000},  # room for a few images
        {"clip_norm": 0.0, "warmup_steps": 0, "weight_decay": 0.1},
        {"checkpoint_every_steps": 1},
    ],
    ids=str,
)
def test_every_choice_trains(taught, tmp_path, changes):
    taught.unlearn(tmp_path / "out", num_steps=4, **changes)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 4
    assert all(math.isfinite(row["total"]) for row in rows)
    assert rows[-1]["forget"] != rows[0]["forget"]


def test_fresh_noise_and_its_mean_go_the_same_way(taught, tmp_path):
    # The forget term itself differs by the variance of fresh noise; the retain term and the weights do not.
    for draws in (0, 256):
        taught.unlearn(tmp_path / str(draws), num_noise_draws=draws, batch_size=34)
    fresh, mean, start = (
        torch.cat([parameter.detach().flatten() for _, parameter in load_model(folder).encoder_parameters()])
        for folder in (tmp_path / "0/model", tmp_path / "256/model", taught.teacher)
    )
    cosine = torch.nn.functional.cosine_similarity(fresh - start, mean - start, dim=0)
    assert float(cosine) > 0.8


# --- which images it touches ---


@pytest.fixture(scope="module")
def proxy_splits(taught, tmp_path_factory):
    """Images of c stand in for the retain set."""
    return taught.split(tmp_path_factory.mktemp("proxy") / "splits", proxy_labels=["c"])


def unlearn_on(project, images, splits, out, **changes):
    config = project.config("unlearn", num_steps=4, **changes)
    unlearn.run(images, splits, project.teacher, out, config)
    return weights_of(out)


def test_without_proxy_images_no_proxy_image_is_touched(taught, damage_images, proxy_splits, tmp_path):
    images = damage_images(taught, tmp_path / "images", proxy_splits, keep=("forget", "retain"))
    unlearn_on(taught, images, proxy_splits, tmp_path / "out", proxy_ratio=0.0)


def test_real_and_proxy_images_may_be_mixed(taught, proxy_splits, tmp_path):
    weights = [
        unlearn_on(taught, taught.images, proxy_splits, tmp_path / str(ratio), proxy_ratio=ratio)
        for ratio in (0.0, 0.5, 1.0)
    ]
    assert len(set(weights)) == 3


def test_proxy_images_that_the_split_does_not_have_are_told(taught, tmp_path):
    with pytest.raises(UserError, match=r"no image of the role proxy_retain.*set split\.proxy_labels"):
        taught.unlearn(tmp_path / "out", proxy_ratio=0.5)


def test_a_split_without_retain_images_tells_how_to_do_without(taught, tmp_path):
    splits = taught.split(tmp_path / "splits", proxy_labels=["a", "c"])
    with pytest.raises(UserError, match=r"no image of the role retain.*set unlearn\.proxy_ratio to 1"):
        taught.unlearn(tmp_path / "out", splits=splits)
    taught.unlearn(tmp_path / "out", splits=splits, proxy_ratio=1.0, num_steps=2)


# --- refusals ---


@pytest.fixture
def earlier(tmp_path):
    """An output that is there already."""
    out = tmp_path / "outputs/unlearned"
    (out / "model").mkdir(parents=True)
    (out / "model/config.json").write_text("earlier")
    return out


def refused(project, out, **changes):
    with pytest.raises(UserError) as error:
        project.unlearn(out, **{"num_steps": 4, **changes})
    assert "\n" not in str(error.value)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert (out / "model/config.json").read_text() == "earlier"
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective": "l2"}, "unlearn.objective='l2' is not known; choose one of: ascent_repair, encoder_l2"),
        ({"operator": "crop"}, "operator='crop' is not known; choose one of: center_hole"),
        ({"keep_fraction": 0.01}, "leaves no patch of 4 px wholly visible"),
        ({"noise_covariance": "full", "operator_patch_size": 5}, "operator_patch_size=5 does not divide"),
        ({"operator": "random_patches", "operator_patch_size": 5}, "operator_patch_size=5 does not divide"),
        ({"alpha": 0.0}, "tensors still equal the teacher's after unlearning"),
        ({"learning_rate": 1e-30}, "raise num_steps, learning_rate or alpha"),
    ],
    ids=str,
)
def test_wrong_settings_leave_the_earlier_output_untouched(taught, earlier, changes, told):
    assert told in refused(taught, earlier, **changes)


def test_a_weight_that_is_no_number_is_told_before_the_first_step(taught, earlier, tmp_path):
    teacher = shutil.copytree(taught.teacher, tmp_path / "teacher")
    edit_tensors(teacher / "model.safetensors", lambda tensors: tensors["vit.embeddings.cls_token"].fill_(math.nan))
    message = refused(taught, earlier, teacher=teacher)
    assert "its weights (*.safetensors) are not finite: 1 tensors, first" in message


def test_a_split_of_other_images_is_refused(taught, earlier, images_written, tmp_path):
    images = images_written(tmp_path / "images", count=7)
    config = taught.config("unlearn")
    with pytest.raises(UserError, match=r"made from other images.*run `i2i-unlearn split` again"):
        unlearn.run(str(images), taught.splits, taught.teacher, earlier, config)


def test_a_missing_split_is_told_with_the_command_that_makes_it(taught, earlier, tmp_path):
    assert "make it with `i2i-unlearn split`" in refused(taught, earlier, splits=tmp_path)


def test_missing_images_are_told_with_the_command_that_brings_them(taught, earlier, tmp_path):
    config = taught.config("unlearn")
    with pytest.raises(UserError, match="`i2i-unlearn data embedded digits --out data`"):
        unlearn.run(str(tmp_path / "nowhere"), taught.splits, taught.teacher, earlier, config)


def test_a_damaged_checkpoint_is_told_in_one_line(taught, earlier, tmp_path, monkeypatch):
    checkpoints = tmp_path / "checkpoints"
    changes = {"checkpoint_uri": str(checkpoints), "checkpoint_every_steps": 2, "num_steps": 4}
    monkeypatch.setattr(Checkpoints, "delete", lambda self: None)
    taught.unlearn(tmp_path / "first", **changes)
    (path,) = checkpoints.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    message = refused(taught, earlier, **changes)
    assert message.startswith(f"{path}: checkpoint is damaged (")
    assert message.endswith("delete it to start again")
