"""Evidence on a version in a real MLflow registry."""

import pytest

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.registry import tracking
from i2i_unlearn.stages import register
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file
from tests.evidence.conftest import statement_of
from tests.registry.world import use_store


@pytest.fixture(scope="module")
def name(world, mlflow_home):
    """A model whose version 1 is the teacher and version 2 the unlearned model."""
    with pytest.MonkeyPatch.context() as patch:
        use_store(mlflow_home, patch)
        config = RegisterConfig.from_params(world.params())
        register.run_original(world.project.teacher, config)
        inputs = world.inputs()
        register.run(*(inputs[part] for part in ("evaluation", "unlearned", "teacher", "splits")), config)
        yield config.model_name


def test_the_versions_facts_are_added_and_checked(name, world, tmp_path):
    bundle = world.bundle(tmp_path / "bundle", "ed25519", model_name=name, version="2")
    registered = statement_of(bundle)["predicate"]["registered"]
    assert len(registered.pop("run_id")) == 32
    assert registered == {"model_name": name, "version": "2", "aliases": [], "teacher_version": "1"}
    found = verify(bundle, world.keys / "ed25519/public.pem")
    assert found.broken == []
    assert not any("registered" in line for line in found.not_shown)
    with tracking.connect() as server:
        assert server.version(name, "2").tags["evidence_sha256"] == digest_file(bundle / "evidence.json")


def test_a_version_of_something_else_is_told(name, world, tmp_path):
    for number, words in (("1", "version 1: its kind is original"), ("7", "has no version '7'")):
        with pytest.raises(UserError, match=words):
            world.bundle(tmp_path / "bundle", "ed25519", model_name=name, version=number)
    assert not (tmp_path / "bundle").exists()
