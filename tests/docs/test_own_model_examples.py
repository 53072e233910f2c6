"""The examples of docs/own_model.md go the whole way by params.yaml alone, as a user would run them."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from i2i_unlearn.support.files import read_json

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
FAST = {"num_bootstrap": 20, "max_images": 24, "batch_size": 24}
KINDS = [
    ("conv_inpainter", "ConvInpainter", {"width": 16}, {}, {}),
    # One vector for a whole image takes larger steps, to learn as to forget.
    (
        "coordinate_network",
        "CoordinateNetwork",
        {"width": 64},
        {"learning_rate": 0.01},
        {"learning_rate": 0.003, "num_steps": 60},
    ),
]


def params_of(params_written, folder, project, kind, **changes):
    """Settings of a run with the class; the tiny family's own sizes are taken out."""
    import yaml

    module, name, architecture, training, unlearning = kind
    path = params_written(folder, project, evaluate=FAST, **changes)
    params = yaml.safe_load(path.read_text())
    params["model"] = f"{module}:{name}"
    params["pretrain"] |= {"family": "own", "architecture": architecture, **training}
    params["unlearn"] |= unlearning
    params["snapshot"]["source"] = "artifacts/original/model"
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    return path


def test_the_documented_example_is_under_60_lines():
    assert len((EXAMPLES / "conv_inpainter.py").read_text().splitlines()) < 60


def test_the_page_shows_the_example_as_it_is():
    page = (ROOT / "docs/own_model.md").read_text()
    assert f"```python\n{(EXAMPLES / 'conv_inpainter.py').read_text()}```" in page


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS, ids=[kind[0] for kind in KINDS])
def test_an_example_is_pretrained_unlearned_retrained_and_evaluated(
    kind, bare_project, command_line, params_written, tmp_path
):
    shutil.copy(EXAMPLES / f"{kind[0]}.py", tmp_path)
    path = params_of(params_written, tmp_path, bare_project, kind)
    images, key = ("--images", bare_project.images), {"I2I_UNLEARN_HMAC_KEY_FILE": bare_project.key}

    def run(*arguments):
        ended = command_line(tmp_path, *arguments, **key)
        assert ended.code == 0, ended.err

    run("split", *images, "--requests", bare_project.requests)
    run("pretrain", *images)
    run("snapshot")
    run("unlearn", *images)
    run("reference", *images)
    run("evaluate", *images, "--policies", ROOT / "mlflow/policies")
    teacher, unlearned = (
        load_file(tmp_path / f"artifacts/{name}/model/model.safetensors") for name in ("teacher", "unlearned")
    )
    for name, tensor in teacher.items():
        assert tensor.equal(unlearned[name]) == (not name.startswith("encoder.")), name
    rows = [json.loads(line) for line in (tmp_path / "artifacts/unlearned/steps.jsonl").read_text().splitlines()]
    assert rows[-1]["forget"] < rows[0]["forget"]
    assert read_json(tmp_path / "artifacts/teacher/summary.json")["family"] == f"{kind[0]}:{kind[1]}"
    scores = read_json(tmp_path / "artifacts/evaluation/metrics.json")["scores"]
    psnr = {who: scores[who]["forget"]["hole_psnr_db"]["value"] for who in ("teacher", "unlearned", "reference")}
    assert psnr["unlearned"] < psnr["teacher"]

    # Nobody who does not name the class runs it.
    path.write_text(path.read_text().replace(f"model: {kind[0]}:{kind[1]}", "model: ''"))
    refused = command_line(tmp_path, "unlearn", *images, **key)
    assert refused.code == 1
    assert "loading it would run that code" in refused.err
