"""A published file is a teacher: snapshot, and then all stages, as with a model directory."""

import json
from pathlib import Path

import pytest

from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.models import load_model
from i2i_unlearn.stages import evaluate, snapshot
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder
from tests.models.published.files import ENCODER_ALONE, HEADS, changed, file_of

ROOT = Path(__file__).parents[3]
FILE = file_of("mae")


def run(project, out, source, **changes):
    return snapshot.run(out, project.config("snapshot", source=str(source), **changes))


@pytest.fixture(scope="module")
def encoder_alone(taught, tmp_path_factory):
    """The teacher made of a file without a decoder."""
    folder = tmp_path_factory.mktemp("encoder")
    file = changed("mae", folder / "encoder.pth", ENCODER_ALONE)
    facts = run(taught, folder / "out", file, checkpoint={"num_attention_heads": 4})
    assert "holds no decoder" in facts["note"]
    return folder / "out/model"


def test_the_digest_is_the_files(taught, tmp_path):
    facts = run(taught, tmp_path / "out", FILE, checkpoint=HEADS, sha256=digest_file(FILE))
    assert facts["source_sha256"] == digest_file(FILE)
    assert facts["model_sha256"] == digest_folder(tmp_path / "out/model")
    assert facts["family"] == "mae"
    assert "note" not in facts


def test_another_file_than_expected_is_refused_before_it_is_read(taught, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(UserError, match="snapshot.sha256=.* but .*x.pth has"):
        run(taught, tmp_path / "out", tmp_path / "x.pth", sha256="0" * 64)
    assert not (tmp_path / "out").exists()


def test_options_for_a_folder_are_a_mistake(taught, tmp_path):
    with pytest.raises(UserError, match="snapshot.checkpoint is for a published checkpoint"):
        run(taught, tmp_path / "out", taught.teacher, checkpoint=HEADS)


def test_the_command_takes_a_file(command_line, params_written, taught, tmp_path):
    params_written(tmp_path, taught, snapshot={"checkpoint": HEADS})
    ended = command_line(tmp_path, "snapshot", "--from", str(FILE), "--out", "teacher")
    assert ended.code == 0, ended.err
    assert load_model(tmp_path / "teacher/model").model.config.num_hidden_layers == 3
    ended = command_line(tmp_path, "snapshot", "--from", "nothing.pth", "--out", "other")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "nothing.pth: no such file; correct snapshot.source" in ended.err


def test_an_encoder_alone_is_unlearned_by_what_looks_at_its_output(taught, encoder_alone, tmp_path):
    settings = {"num_steps": 4, "operator_patch_size": 4}
    facts = taught.unlearn(tmp_path / "out", teacher=encoder_alone, objective="encoder_l2", alpha=1.0, **settings)
    rows = [json.loads(line) for line in (tmp_path / "out/steps.jsonl").open()]
    assert rows[-1]["forget"] < rows[0]["forget"]
    assert facts["model_sha256"] != digest_folder(encoder_alone)
    with pytest.raises(UserError, match="the model has no decoder"):
        taught.unlearn(tmp_path / "other", teacher=encoder_alone, objective="max_loss", alpha=1.0, **settings)
    config = taught.config("evaluate", policies=read_policies(ROOT / "mlflow/policies"), operator_patch_size=4)
    with pytest.raises(UserError, match="the model has no decoder"):
        evaluate.run(taught.images, taught.splits, encoder_alone, tmp_path / "out", "", tmp_path / "evaluation", config)
    assert not (tmp_path / "evaluation").exists()
