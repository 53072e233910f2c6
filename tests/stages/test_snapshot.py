import json
import shutil

import pytest

from i2i_unlearn.models import load_model
from i2i_unlearn.stages import snapshot
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder


@pytest.fixture
def source(taught, tmp_path):
    """A copy of the original, to damage."""
    shutil.copytree(taught.artifact("original/model"), tmp_path / "source")
    return tmp_path / "source"


def run(project, out, source, **changes):
    return snapshot.run(out, project.config("snapshot", source=str(source), **changes))


def refused(project, out, source, **changes):
    (out / "model").mkdir(parents=True)
    (out / "model/config.json").write_text("earlier")
    with pytest.raises(UserError) as error:
        run(project, out, source, **changes)
    assert "\n" not in str(error.value)
    assert [path.name for path in out.rglob("*.json")] == ["config.json"]
    assert (out / "model/config.json").read_text() == "earlier"
    assert not list(out.parent.glob(".*"))
    return str(error.value)


def test_the_teacher_is_the_original_with_its_digest(taught):
    original, teacher = taught.artifact("original/model"), taught.artifact("teacher")
    assert sorted(path.name for path in teacher.iterdir()) == ["model", "original", "summary.json"]
    summary = json.loads((teacher / "summary.json").read_text())
    assert summary["family"] == "mae"
    assert summary["source_sha256"] == digest_folder(original)
    assert summary["model_sha256"] == digest_folder(teacher / "model")
    before, after = load_model(original).state_dict(), load_model(teacher / "model").state_dict()
    assert all(tensor.equal(after[name]) for name, tensor in before.items())


def test_a_folder_is_its_own_original(taught):
    told = json.loads((taught.artifact("teacher") / "original/summary.json").read_text())
    assert told == {
        "model": "teacher",
        "source": str(taught.config("snapshot").source),
        "model_sha256": digest_folder(taught.teacher),
        "teacher_source": str(taught.config("snapshot").source),
        "teacher_sha256": digest_folder(taught.teacher),
        "why": "",
    }
    assert [path.name for path in (taught.artifact("teacher") / "original").iterdir()] == ["summary.json"]


def test_a_snapshot_of_a_snapshot_is_the_same_bytes(taught, tmp_path):
    run(taught, tmp_path / "out", taught.teacher)
    assert digest_folder(tmp_path / "out/model") == digest_folder(taught.teacher)


def test_only_what_belongs_to_a_model_goes_on(taught, source, tmp_path):
    (source / "optimizer.pt").write_bytes(b"a pickle, perhaps")
    (source / "README.md").write_text("# A model")
    run(taught, tmp_path / "out", source)
    names = sorted(path.name for path in (tmp_path / "out/model").iterdir())
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_the_right_digest_is_accepted(taught, source, tmp_path):
    assert run(taught, tmp_path / "out", source, sha256=digest_folder(source))["source_sha256"] == digest_folder(source)


def test_a_wrong_digest_is_refused_with_the_one_found(taught, source, tmp_path):
    message = refused(taught, tmp_path / "out", source, sha256="0" * 64)
    assert f"snapshot.sha256={'0' * 64}, but {source} has {digest_folder(source)}" in message


def test_one_changed_byte_is_noticed(taught, source, tmp_path):
    digest = digest_folder(source)
    path = source / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "snapshot.sha256=" in refused(taught, tmp_path / "out", source, sha256=digest)


@pytest.mark.parametrize("uri", ["models:/name@champion", "models:/name", "models:/name/latest", "models:/name/1@x"])
def test_an_alias_is_refused(taught, tmp_path, uri):
    # An alias may mean another version tomorrow: the run would not be repeatable.
    pytest.importorskip("mlflow")
    told = "write models:/NAME/NUMBER (an alias may mean another one tomorrow)"
    assert told in refused(taught, tmp_path / "out", uri)


@pytest.mark.parametrize("address", ["s3://bucket/model", "https://host/model", "file:///model"])
def test_an_address_is_refused_before_anything_looks_like_a_missing_folder(taught, tmp_path, address):
    told = refused(taught, tmp_path / "out", address)
    assert told.startswith(f"snapshot.source={address}: ")
    assert "copy the model into a folder" in told
    assert "models:/NAME/VERSION" in told


def test_truncated_weights_are_refused(taught, source, tmp_path):
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "its weights cannot be read" in refused(taught, tmp_path / "out", source)


def test_a_missing_source_is_refused(taught, tmp_path):
    assert f"{tmp_path}/nothing: no config.json in it" in refused(taught, tmp_path / "out", tmp_path / "nothing")
