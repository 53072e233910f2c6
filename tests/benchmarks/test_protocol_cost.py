"""The page's table of computed times follows from the presets and the counts that stand in it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_cases import SMALL_MAE
from benchmarks.protocol_cost import EXPERIMENTS, flops_of_pair, seconds_of
from i2i_unlearn.config.presets import find_preset

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (M\S+ ViT-\S+|Palette) \| ([\d.,]+) \| ([\d,]+) \| (\d+) % \| ([\d,]+) s \|$",
    (ROOT / "docs/public_checkpoints.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("name", "row"), list(zip(EXPERIMENTS, ROWS, strict=True)))
def test_the_times_on_the_page_follow_from_its_counts(name, row):
    gflop, pairs, share, seconds = (float(cell.replace(",", "")) for cell in row[1:])
    experiment = EXPERIMENTS[name]
    preset = find_preset(ROOT / "presets", experiment.preset)
    assert pairs == preset.settings["unlearn"]["num_steps"] * preset.settings["unlearn"]["batch_size"]
    assert share / 100 == experiment.share
    assert round(seconds_of(gflop * 1e9, preset, experiment.share)) == pytest.approx(seconds, abs=1)
    assert seconds == pytest.approx(gflop * 1e9 * pairs / (989e12 * share / 100), rel=0.02)  # by hand


def test_a_pair_costs_a_student_there_and_back_and_a_teacher_twice():
    preset = find_preset(ROOT / "presets", "imagenet1k-mage")  # which keeps three quarters
    model = SMALL_MAE.create()
    images, visible = torch.zeros(1, 3, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool)
    visible[:, 4:12, 4:12] = False
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.encode(images, visible)
    forward = counter.get_total_flops()
    found = flops_of_pair(replace(SMALL_MAE, batch_size=4), preset)
    # 2 images * 3 (there, and back for inputs and weights) + 2 * 1; the first layer needs no gradient of its input.
    assert 7 * forward < found <= 8 * forward
