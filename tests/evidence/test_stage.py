"""The stage as the pipeline's step calls it."""

import json
from pathlib import Path

from i2i_unlearn.config.sections import CONFIGS, EvaluateConfig
from i2i_unlearn.evidence.verify import verify
from i2i_unlearn.stages import evidence


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
