import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from i2i_unlearn.data.split.manifest import read_manifest, write_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.stages import reference
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder, read_json
from i2i_unlearn.training.checkpoints import Checkpoints
from tests.models.samples import edit_json
from tests.support.measured import rows_of
from tests.support.says import says


def run(project, out, *, images=None, splits=None, teacher=None, **changes):
    """Retrain with 4 steps; nothing is recorded of the teacher's own."""
    config = project.config("reference", **{"num_steps": 4, **changes})
    where = (images or project.images, splits or project.splits, teacher or project.unrecorded_teacher)
    return reference.run(*where, out, config)


def made(out, number=1):
    """The summary of one reference."""
    return read_json(out / str(number) / "summary.json")


def test_it_retrains_by_the_recipe_of_the_original(tiny):
    out = tiny.artifact("reference")
    assert sorted(path.name for path in out.iterdir()) == ["1", "summary.json"]
    assert {path.name for path in (out / "1").iterdir()} == {"manifest.parquet", "model", "steps.jsonl", "summary.json"}
    summary = made(out)
    original = json.loads((tiny.artifact("original") / "summary.json").read_text())
    assert summary["kind"] == "retrain"
    assert summary["steps"] == original["steps"]
    assert summary["model_sha256"] == digest_folder(out / "1/model")
    assert (out / "1/model/config.json").read_bytes() == (tiny.teacher / "config.json").read_bytes()
    rates = [[row["learning_rate"] for row in rows_of(tiny.artifact(name))] for name in ("original", "reference/1")]
    assert rates[0] == rates[1]


def test_it_starts_from_other_weights_than_the_original(tiny):
    # Without a step: the reference's own initial weights would be the teacher's if the seeds were the same.
    models = ("teacher/model", "reference/1/model")
    teacher, retrained = (load_model(tiny.artifact(name)).state_dict() for name in models)
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
    assert digest_folder(tmp_path / "one/1/model") == digest_folder(tmp_path / "other/1/model")


def test_retraining_ahead_of_the_teacher_makes_what_retraining_after_it_makes(taught, tmp_path):
    def never(*_):
        raise AssertionError("trained again")

    config = taught.config("reference", num_steps=4, count=2)
    assert reference.ahead(taught.images, taught.splits, tmp_path / "ahead", config) == 2
    assert not (tmp_path / "ahead").exists()
    where = (taught.images, taught.splits, taught.unrecorded_teacher)
    reference.run(*where, tmp_path / "ahead", config, retrain=never)
    reference.run(*where, tmp_path / "after", config)
    models = [[digest_folder(tmp_path / f"{name}/{number}/model") for number in (1, 2)] for name in ("ahead", "after")]
    assert models[0] == models[1]


def test_what_was_retrained_ahead_of_another_teacher_is_not_taken(taught, tmp_path):
    config = taught.config("reference", num_steps=4)
    reference.ahead(taught.images, taught.splits, tmp_path / "out", config)
    shutil.copytree(taught.unrecorded_teacher, tmp_path / "teacher")
    edit_json(tmp_path / "teacher/config.json", layer_norm_eps=1e-6)
    reference.run(taught.images, taught.splits, tmp_path / "teacher", tmp_path / "out", config)
    assert read_json(tmp_path / "out/1/model/config.json")["layer_norm_eps"] == 1e-6


# --- several ---


def test_the_same_seed_gives_the_same_bytes_and_each_of_several_has_its_own(taught, tmp_path):
    # The second has twice the offset, whether it is made here or as the only one of another run.
    together = run(taught, tmp_path / "three", count=3)
    for number in (1, 2, 3):
        run(taught, tmp_path / f"alone-{number}", seed_offset=1000 * number)
    digests = [made(tmp_path / "three", number)["model_sha256"] for number in (1, 2, 3)]
    assert digests == [made(tmp_path / f"alone-{number}")["model_sha256"] for number in (1, 2, 3)]
    assert len(set(digests)) == 3
    assert (together["kind"], together["count"]) == ("retrain", 3)
    seconds = sum(made(tmp_path / "three", number)["seconds"] for number in (1, 2, 3))
    assert together["seconds"] == pytest.approx(seconds)


def test_side_by_side_they_are_the_same_bytes(taught, tmp_path):
    for num_workers in (1, 2):
        run(taught, tmp_path / str(num_workers), count=2, num_workers=num_workers)
    for number in (1, 2):
        one, two = (made(tmp_path / out, number)["model_sha256"] for out in ("1", "2"))
        assert one == two
    assert not list(tmp_path.glob(".*"))  # nothing is left of the work


def test_more_references_leave_those_that_are_there(taught, tmp_path, monkeypatch):
    run(taught, tmp_path / "out", count=1)
    before = made(tmp_path / "out")
    trained = []
    real = reference.train_and_write
    monkeypatch.setattr(reference, "train_and_write", lambda *given: trained.append(1) or real(*given))
    run(taught, tmp_path / "out", count=3)
    assert len(trained) == 2
    assert made(tmp_path / "out") == before
    run(taught, tmp_path / "out", count=2)
    assert len(trained) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2", "summary.json"]
    (tmp_path / "out/2/model/model.safetensors").write_bytes(b"damaged")
    run(taught, tmp_path / "out", count=2)
    assert len(trained) == 3


KILLED = """
import sys
from i2i_unlearn.config.sections import ReferenceConfig
from i2i_unlearn.stages import reference
from i2i_unlearn.support.files import read_json
job = read_json(sys.argv[1])
reference.run(*job["paths"], ReferenceConfig(**job["config"]))
"""


def test_a_killed_run_resumes_at_the_reference_where_it_was(taught, tmp_path):
    changes = {"num_steps": 2000, "checkpoint_every_steps": 20, "checkpoint_uri": str(tmp_path / "checkpoints")}
    # The first is finished, the second is killed.
    run(taught, tmp_path / "out", **changes, count=1)
    config = taught.config("reference", **changes, count=2)
    paths = [taught.images, str(taught.splits), str(taught.unrecorded_teacher), str(tmp_path / "out")]
    (tmp_path / "job.json").write_text(json.dumps({"paths": paths, "config": config.model_dump(mode="json")}))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "job.json")])
    end = time.monotonic() + 60
    while not list((tmp_path / "checkpoints").glob("*.safetensors")):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()
    first = made(tmp_path / "out")
    assert not (tmp_path / "out/2").exists()  # an output is whole or the earlier one
    summary = run(taught, tmp_path / "out", **changes, count=2)
    assert made(tmp_path / "out") == first
    assert 0 < made(tmp_path / "out", 2)["resumed_from_step"] == summary["resumed_from_step"] < 2000


def test_no_reference_is_a_summary_alone(taught, tmp_path):
    shutil.copytree(taught.artifact("original"), tmp_path / "out")  # an earlier one with a model goes
    assert run(taught, tmp_path / "out", count=0) == {"kind": "none", "count": 0}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.json"]
    assert json.loads((tmp_path / "out/summary.json").read_text()) == {"kind": "none", "count": 0}


def test_a_checkpoint_of_other_inputs_is_not_used(taught, tmp_path, monkeypatch):
    # A run that was killed after its last step leaves its checkpoint, as this one does.
    monkeypatch.setattr(Checkpoints, "delete", lambda self: None)
    shutil.copytree(taught.teacher, tmp_path / "teacher")
    uri = str(tmp_path / "checkpoints")
    changes = {"checkpoint_uri": uri, "checkpoint_every_steps": 2, "teacher": tmp_path / "teacher"}

    def resumed(out, **more):
        return run(taught, tmp_path / out, **changes, **more)["resumed_from_step"]

    assert resumed("one") == 0
    assert resumed("two") == 4
    edit_json(tmp_path / "teacher/preprocessor_config.json", image_mean=[0.25])
    assert resumed("three") == 0
    assert resumed("four", seed_offset=7) == 0


# --- what does not fit ---


def test_a_missing_split_is_told_with_the_command_that_makes_it(taught, tmp_path):
    with pytest.raises(UserError, match="manifest.parquet: no split manifest.*`i2i-unlearn split`"):
        run(taught, tmp_path / "out", splits=tmp_path)


def test_a_missing_teacher_is_told(taught, tmp_path):
    with pytest.raises(UserError, match="give a model directory"):
        run(taught, tmp_path / "out", teacher=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 28, "architecture": {"patch_size": 4}}, ["pretrain.image_size is 28x28", "16x16"]),
        ({"num_channels": 3}, ["pretrain.num_channels is 3", "teacher's 1"]),
        ({"architecture": {"hidden_size": 64}}, ["pretrain.architecture.hidden_size is 64", "32"]),
        ({"family": "diffusion"}, ["pretrain.family is diffusion", "mae"]),
        ({"num_steps": 20}, ["pretrain.num_steps is 20", "the original had 200"]),
        ({"num_steps": 401}, ["pretrain.num_steps is 401", "200"]),
    ],
)
def test_a_recipe_that_is_not_the_teachers_is_refused_before_it_is_trained(taught, tmp_path, changes, words):
    with says(UserError, *words, "reference.count to 0"):
        run(taught, tmp_path / "out", teacher=taught.teacher, **{"num_steps": 200, **changes})
    assert not list(tmp_path.iterdir())


def test_other_images_than_the_originals_are_refused(taught, tmp_path, project_made, images_written):
    other = project_made(tmp_path / "other")
    images_written(tmp_path / "more", count=130)
    shutil.copy(tmp_path / "more/tiny.parquet", other.images)
    splits = other.split(tmp_path / "splits")
    with says(UserError, "training images", "the original had 89"):
        run(taught, tmp_path / "out", images=other.images, splits=splits, teacher=taught.teacher, num_steps=200)


def test_the_summaries_hand_on_how_the_original_was_trained(tiny):
    recorded = [read_json(tiny.artifact(name) / "summary.json") for name in ("teacher", "unlearned")]
    original = read_json(tiny.artifact("original") / "summary.json")
    told = [(one["original_images"], one["original_steps"]) for one in recorded]
    assert told == [(original["num_images"], original["steps"])] * 2


def test_a_dropped_image_is_not_trained_on(taught, tmp_path):
    # It is a near-copy of what is to be forgotten: a reference that saw it would be none.
    splits = with_role(taught, tmp_path / "splits", "retain", "dropped", 5)
    retained = read_manifest(taught.splits / "manifest.parquet").of("retain")
    assert run(taught, tmp_path / "out", splits=splits)["num_images"] == len(retained) - 5


def with_role(project, folder, before, after, num):
    """The split with another role for the first `num` images that had the role `before`."""
    manifest = read_manifest(project.splits / "manifest.parquet", project.images)
    rows = manifest.rows.copy()
    rows.loc[rows.index[rows["role"] == before][:num], "role"] = after
    folder.mkdir()
    write_manifest(replace(manifest, rows=rows), folder / "manifest.parquet")
    return folder


# --- models of the user's own ---


@pytest.fixture
def own(tiny, tmp_path):
    """A model that was trained without the forget set, with its record."""
    return shutil.copytree(tiny.artifact("reference") / "1", tmp_path / "own")


def test_a_model_of_ones_own_is_one_more_reference(tiny, tmp_path, own):
    facts = run(tiny, tmp_path / "out", models=[str(own / "model")])
    assert (facts["kind"], facts["count"]) == ("retrain", 2)
    assert made(tmp_path / "out", 2)["kind"] == "own"
    assert made(tmp_path / "out", 2)["model_sha256"] == digest_folder(own / "model")
    alone = run(tiny, tmp_path / "alone", count=0, models=[str(own / "model")], image_size=12)
    assert alone == {"kind": "own", "count": 1}  # nothing is trained, so the recipe may be any


def test_one_that_saw_a_forget_image_or_tells_nothing_is_refused(tiny, tmp_path, own):
    def refused(*words):
        with says(UserError, "reference.models", *words):
            run(tiny, tmp_path / "out", models=[str(own / "model")])
        assert not (tmp_path / "out").exists()

    earlier = with_role(tiny, tmp_path / "earlier", "forget", "retain", 3)
    shutil.copy(earlier / "manifest.parquet", own)
    refused("trained on 3 of the images to forget")
    (own / "manifest.parquet").unlink()
    refused("nothing is recorded", "manifest.parquet", "next to it")
    shutil.copy(tiny.artifact("unlearned") / "summary.json", own)
    refused("was unlearned")


def test_one_of_other_data_or_of_another_key_is_refused(tiny, tmp_path, own):
    manifest = read_manifest(own / "manifest.parquet")
    rows = manifest.rows.assign(hmac_id=[f"{number:064x}" for number in range(len(manifest.rows))])
    write_manifest(replace(manifest, rows=rows, image_digest="0" * 64), own / "manifest.parquet")
    with says(UserError, "reference.models", "other data", "another key"):
        run(tiny, tmp_path / "out", models=[str(own / "model")])


def test_one_that_is_not_like_the_teacher_is_refused(tiny, tmp_path, own, tiny_model):
    shutil.rmtree(own / "model")
    tiny_model(image_size=24).save(own / "model")
    with says(UserError, "reference.models", "image_size=(24, 24)", "(16, 16)"):
        run(tiny, tmp_path / "out", models=[str(own / "model")])
