"""The wheel alone, in an environment from which this repository cannot be imported, takes a project to its evidence."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from PIL import Image

from i2i_unlearn.support.files import read_json
from tests.conftest import TINY, pixels_of

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


EASY = """\
schema_version: 1
name: easy
asks: nothing, since it is the way that is tried here and not the gate
if_passed: The way was gone to its end.
lines:
  - name: forgetting
    measure: {model: unlearned, minus: original, set: forget, metric: hole_psnr_db}
    at_most: 50.0
    if_above: forget images are completed better by 50 dB
    why: More than any change of the weights.
"""
SMALL = (
    "evaluate.policy=easy",
    "evaluate.audits.run=[]",
    "evaluate.max_feature_images=10",
    "evaluate.num_bootstrap=50",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of the programs of a fresh environment: the wheel, and the libraries that the tests have."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    packages = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", packages], check=True, capture_output=True, text=True).stdout.strip()
    # A folder that a .pth file names brings its packages, and not what its own .pth files name: the checkout.
    (Path(site) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = "import i2i_unlearn; print(i2i_unlearn.__file__)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = subprocess.run(
        [python, "-c", found], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    assert Path(told.stdout.strip()).is_relative_to(folder)
    return folder / "venv/bin"


@pytest.fixture
def run(installed, tmp_path):
    """`run("forget", "w-1")` in the project -> what is printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PATH": f"{installed}:{environment['PATH']}", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}

    def run(*words, folder=tmp_path / "project", program="i2i_unlearn.cli.main"):
        command = [installed / "python", "-m", program, *map(str, words)]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
        return ended.stdout

    return run


def flat(settings, place=""):
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{place}{key}.")
        else:
            yield f"{place}{key}={value}"


def test_from_init_to_evidence_without_this_repository(run, tmp_path, params_with):
    from i2i_unlearn.config.sections import PretrainConfig
    from i2i_unlearn.data.importers.run import ImportSettings, import_images
    from i2i_unlearn.stages import pretrain

    for split, numbers in (("seen", range(40)), ("fresh", range(40, 54))):
        for label in "abc":
            (tmp_path / split / label).mkdir(parents=True)
            for number in numbers:
                Image.fromarray(pixels_of(label, number)).save(tmp_path / split / label / f"{number:02d}.png")
    import_images(tmp_path / "seen", tmp_path / "data", ImportSettings(source_split="train"), tell=print)
    recipe = PretrainConfig.from_params(params_with(checkpoint_uri=str(tmp_path / "checkpoints")))
    pretrain.run(str(tmp_path / "data/images"), tmp_path / "trained", recipe)

    images = ("--training-images", "seen", "--unseen-images", "fresh")
    told = run("init", "project", "--model", "trained/model", *images, folder=tmp_path)
    assert "masked autoencoder" in told
    assert "forget w-1" in told
    (tmp_path / "project/mlflow/policies/easy.yaml").write_text(EASY)
    run("set", *flat({"unlearn": TINY["unlearn"]}), *SMALL)

    ids = [f"seen/b/{number:02d}.png" for number in range(40)]
    (tmp_path / "project/withdrawn.txt").write_text("".join(f"{one}\n" for one in ids))
    told = run("forget", "w-1", "--ids-file", "withdrawn.txt", "--basis", "withdrawn consent", "--allow-large")
    assert "i2i-unlearn registry promote" in told
    assert "champion" in run("registry", "promote")
    run("keys", "create")
    run("evidence", "create")
    run("complete", "--model", "models:/project@champion", "--in", "../fresh", "--out", "../completed")
    assert len(list((tmp_path / "completed").rglob("*.png"))) == 42
    assert read_json(tmp_path / "project/artifacts/splits/summary.json")["num_forget"] == 40
    run("pipeline", "compile")
    assert run("status", program="dvc").strip() == "Data and pipelines are up to date."
