"""The stage as the pipeline's step calls it, and on a version in a real MLflow registry."""

import json
from pathlib import Path

import pytest

from i2i_unlearn.config.sections import CONFIGS, EvaluateConfig, RegisterConfig
from i2i_unlearn.evidence import gather
from i2i_unlearn.evidence.show import all_lines
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.registry import tracking
from i2i_unlearn.stages import evidence, register
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file
from tests.evidence.conftest import statement_of
from tests.registry.world import use_store


def test_without_a_key_the_step_says_so_and_nothing_breaks(world, tmp_path):
    out = tmp_path / "out"
    signer = evidence.Signer(key=tmp_path / "private.pem", optional=True)
    facts = evidence.run(evidence.Inputs(**world.inputs()), evidence.Origin(), signer, out)
    assert facts["evidence"] == "none"
    assert [path.name for path in out.iterdir()] == ["no_evidence.txt"]
    assert f"no key {tmp_path / 'private.pem'}" in (out / "no_evidence.txt").read_text()


class Artifact:
    """What Kubeflow hands to a step."""

    def __init__(self, path):
        self.path, self.metadata = str(path), {}


def test_the_component_makes_a_sound_bundle(world, tmp_path):
    from components.evidence import evidence as component

    parts = world.inputs()
    configs = [CONFIGS[name].from_params(world.params()) for name in ("snapshot", "split", "unlearn", "register")]
    configs.append(EvaluateConfig.from_params(world.params(), policies=world.policies))
    sections = {config.section: config.model_dump(mode="json", exclude={"policies"}) for config in configs}
    bundle, made = Artifact(tmp_path / "bundle"), Artifact(tmp_path / "made.md")
    component.python_func(
        evaluation=Artifact(parts["evaluation"]),
        unlearned=Artifact(parts["unlearned"]),
        teacher=Artifact(Path(parts["teacher"]).parent),
        splits=Artifact(parts["splits"]),
        version="",
        settings={**sections, "cluster": {"requests_folder": parts["requests"], "mlflow_tracking_uri": ""}},
        policies=json.loads(json.dumps(world.policies)),
        image="i2i-unlearn:test",
        key=str(world.keys / "ecdsa/private.pem"),
        bundle=bundle,
        made=made,
    )
    found = verify(bundle.path, world.public, world.model)
    assert found.broken == []
    assert found.said.image == "i2i-unlearn:test"
    assert found.said.parameters["unlearn"]["num_steps"] == 3
    assert "signed by" in Path(made.path).read_text()
    assert made.metadata["gate"] == found.said.gate.outcome


# --- a registered version ---


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
    plain = {"model_name": name, "version": "2", "aliases": [], "teacher_version": "1", "accepted_undecided": None}
    assert registered == plain
    found = verify(bundle, world.keys / "ed25519/public.pem")
    assert found.broken == []
    assert not any("registered" in line for line in found.not_shown)
    with tracking.connect() as server:
        first = digest_file(bundle / "evidence.json")
        assert server.version(name, "2").tags["evidence_sha256"] == first
        for sha256 in ("f" * 64, "f" * 64, first):  # further evidence is added and replaces nothing
            gather.note_in_registry(name, "2", sha256)
        tags = server.version(name, "2").tags
        evidence_tags = {key: value for key, value in tags.items() if key.startswith("evidence")}
        assert evidence_tags == {"evidence_sha256": first, "evidence_sha256_2": "f" * 64}


def test_why_an_undecided_version_was_promoted_is_in_the_evidence(name, world, tmp_path):
    with tracking.connect() as server:
        server.tag(server.version(name, "2"), {tracking.ACCEPTED: "too few images"})
    bundle = world.bundle(tmp_path / "bundle", "ed25519", model_name=name, version="2")
    assert statement_of(bundle)["predicate"]["registered"]["accepted_undecided"] == "too few images"
    said = verify(bundle, world.keys / "ed25519/public.pem").said
    assert said is not None
    assert "too few images" in "\n".join(all_lines(said))


def test_a_version_of_something_else_is_told(name, world, tmp_path):
    for number, words in (("1", "version 1: its kind is original"), ("7", "has no version '7'")):
        with pytest.raises(UserError, match=words):
            world.bundle(tmp_path / "bundle", "ed25519", model_name=name, version=number)
    assert not (tmp_path / "bundle").exists()
