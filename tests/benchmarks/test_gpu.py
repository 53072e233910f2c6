import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import AGREEMENT, faults, largest_difference, markdown
from benchmarks.gpu_cases import MAE, PALETTE
from i2i_unlearn.models.diffusion.settings import Architecture
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ROOT = Path(__file__).parents[2]
REFUSED = ["pandas", "pyarrow", "pydantic", "typer", "rich", "jinja2", "matplotlib"]
REFUSED += ["sklearn", "torchmetrics", "torchvision", "mlflow", "dvc", "kfp", "mlxtend", "ruamel"]
BARE = f"""
import importlib.machinery, runpy, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in {REFUSED!r}:  # as if it were not installed
            return super().find_spec(name, path, target)

sys.meta_path = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
sys.path = [place for place in sys.path if not place.endswith("/src")]  # the package itself is not installed either
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What the benchmark prints and writes where only torch and the families' libraries are installed."""
    out = tmp_path_factory.mktemp("gpu")
    program = [sys.executable, "-c", BARE, "--small", "--out", str(out)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, out


def test_it_runs_small_from_the_source_tree_with_little_installed(ran):
    printed, out = ran
    page = (out / "gpu.md").read_text()
    assert page in printed
    assert "measures nothing" in page


def test_the_figures_name_the_device_and_are_numbers(ran):
    found = json.loads((ran[1] / "gpu.json").read_text())
    assert found["device"].startswith("CPU") or torch.cuda.is_available()
    assert found["small"] is True
    assert len(found["cases"]) == 2
    for case in found["cases"]:
        assert len(case["losses_fp32"]) == 3
        assert case["flops_per_image_bf16"] > 0
        assert 0 < case["share_of_bf16_peak"] < 1
        assert case["difference_to_cpu"] <= AGREEMENT
        assert case["difference_of_bf16"] > 0  # it did run in another precision
    assert found["protocol"] | {"seconds": 0, "peak_memory_bytes": 0} == {
        "images": 24,
        "epochs": 2,
        "steps": 6,  # 12 images of each set, 4 in a step, twice
        "seconds": 0,
        "peak_memory_bytes": 0,
    }


def test_losses_that_do_not_agree_are_told(ran):
    found = json.loads((ran[1] / "gpu.json").read_text())
    assert faults(found) == []
    found["cases"][0]["difference_to_cpu"] = 0.5
    (told,) = faults(found)
    assert "difference_to_cpu is 5.00e-01, more than 0.001" in told
    found["cases"][0]["difference_to_cpu"] = float("nan")
    assert len(faults(found)) == 1
    assert "5.0e-01" not in markdown(found)


def test_the_largest_difference_by_hand():
    assert largest_difference([2.0, 1.1], [2.0, 1.0]) == pytest.approx(0.1)


def test_the_cases_have_the_published_sizes():
    # 112 M numbers in the ViT-B checkpoint with decoder, 62.6 M in the Palette U-Net.
    ensure_torchvision()
    from diffusers import UNet2DModel
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    made = Architecture.of(PALETTE.architecture, image_size=256, num_channels=3)
    with torch.device("meta"):
        mae = ViTMAEForPreTraining(ViTMAEConfig(**MAE.architecture))
        unet = UNet2DModel.from_config(made.unet_config(256, 3))
    assert sum(p.numel() for p in mae.parameters()) / 1e6 == pytest.approx(112, abs=0.5)
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(62.6, abs=0.1)
