import json
import shutil
from dataclasses import replace

import pytest

from i2i_unlearn.data.split.manifest import read_manifest, write_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.stages import reference
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from i2i_unlearn.training.checkpoints import Checkpoints
from tests.models.samples import edit_json
from tests.support.measured import rows_of


def run(project, out, *, images=None, splits=None, teacher=None, **changes):
    changes = {"num_steps": 4, **changes}
    config = project.config("reference", **changes)
    return reference.run(images or project.images, splits or project.splits, teacher or project.teacher, out, config)


def test_it_retrains_by_the_recipe_of_the_original(tiny):
    out = tiny.artifact("reference")
    assert sorted(path.name for path in out.iterdir()) == ["model", "steps.jsonl", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    original = json.loads((tiny.artifact("original") / "summary.json").read_text())
    assert summary["kind"] == "retrain"
    assert summary["steps"] == original["steps"]
    assert summary["model_sha256"] == digest_folder(out / "model")
    assert (out / "model/config.json").read_bytes() == (tiny.teacher / "config.json").read_bytes()
    rates = [[row["learning_rate"] for row in rows_of(tiny.artifact(name))] for name in ("original", "reference")]
    assert rates[0] == rates[1]


def test_it_starts_from_other_weights_than_the_original(tiny):
    # Without a step: the reference's own initial weights would be the teacher's if the seeds were the same.
    teacher, retrained = (load_model(tiny.artifact(name)).state_dict() for name in ("teacher/model", "reference/model"))
    tables = {name for name in teacher if "pos" in name.lower()}  # sine tables are constants
    assert {name for name in teacher if teacher[name].equal(retrained[name])} == tables
    flat = [
        state["model.vit.embeddings.patch_embeddings.projection.weight"].flatten() for state in (teacher, retrained)
    ]
    cosine = float((flat[0] @ flat[1]) / (flat[0].norm() * flat[1].norm()))
    assert abs(cosine) < 0.5


@pytest.mark.parametrize("changes", [{}, {"proxy_fraction": 0.4}, {"retain_cap_per_class": 5}])
def test_it_reads_every_training_image_but_those_to_be_forgotten(taught, damage_images, tmp_path, changes):
    # Images of all other roles cannot be read: forgotten, erased and held out ones have no part in it.
    splits = taught.split(tmp_path / "splits", **changes)
    kept = ("retain", "proxy_retain", "unused")
    images = damage_images(taught, tmp_path / "images", splits, keep=kept)
    facts = run(taught, tmp_path / "out", images=images, splits=splits)
    summary = json.loads((splits / "summary.json").read_text())
    assert facts["num_images"] == sum(summary[f"num_{role}"] for role in kept) == 55


def test_of_the_teacher_only_the_architecture_is_used(taught, tmp_path):
    shutil.copytree(taught.teacher, tmp_path / "teacher")
    (tmp_path / "teacher/model.safetensors").write_bytes(b"not read")
    run(taught, tmp_path / "one")
    run(taught, tmp_path / "other", teacher=tmp_path / "teacher")
    assert digest_folder(tmp_path / "one/model") == digest_folder(tmp_path / "other/model")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(taught, tmp_path):
    one, again = run(taught, tmp_path / "one"), run(taught, tmp_path / "again")
    other = run(taught, tmp_path / "other", seed_offset=1)
    assert one["model_sha256"] == again["model_sha256"] != other["model_sha256"]


def test_no_reference_is_a_summary_alone(taught, tmp_path):
    shutil.copytree(taught.artifact("original"), tmp_path / "out")  # an earlier one with a model goes
    assert run(taught, tmp_path / "out", kind="none") == {"kind": "none"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.json"]
    assert json.loads((tmp_path / "out/summary.json").read_text()) == {"kind": "none"}


def test_a_checkpoint_of_other_inputs_is_not_used(taught, tmp_path, monkeypatch):
    # A run that was killed after its last step leaves its checkpoint, as this one does.
    monkeypatch.setattr(Checkpoints, "delete", lambda self: None)
    shutil.copytree(taught.teacher, tmp_path / "teacher")
    uri = str(tmp_path / "checkpoints")
    changes = {"checkpoint_uri": uri, "checkpoint_every_steps": 2, "teacher": tmp_path / "teacher"}
    assert run(taught, tmp_path / "out", **changes)["resumed_from_step"] == 0
    assert run(taught, tmp_path / "out", **changes)["resumed_from_step"] == 4
    edit_json(tmp_path / "teacher/preprocessor_config.json", image_mean=[0.25])
    assert run(taught, tmp_path / "out", **changes)["resumed_from_step"] == 0
    assert run(taught, tmp_path / "out", **changes, seed_offset=7)["resumed_from_step"] == 0


def test_a_missing_split_is_told_with_the_command_that_makes_it(taught, tmp_path):
    with pytest.raises(UserError, match="manifest.parquet: no split manifest.*`i2i-unlearn split`"):
        run(taught, tmp_path / "out", splits=tmp_path)


def test_a_missing_teacher_is_told(taught, tmp_path):
    with pytest.raises(UserError, match="give a model directory"):
        run(taught, tmp_path / "out", teacher=tmp_path / "nothing")


def test_a_dropped_image_is_not_trained_on(taught, tmp_path):
    # It is a near-copy of what is to be forgotten: a reference that saw it would be none.
    manifest = read_manifest(taught.splits / "manifest.parquet", taught.images)
    rows = manifest.rows.copy()
    retained = rows.index[rows["role"] == "retain"]
    rows.loc[retained[:5], "role"] = "dropped"
    (tmp_path / "splits").mkdir()
    write_manifest(replace(manifest, rows=rows), tmp_path / "splits/manifest.parquet")
    summary = run(taught, tmp_path / "out", splits=tmp_path / "splits")
    assert summary["num_images"] == len(retained) - 5
