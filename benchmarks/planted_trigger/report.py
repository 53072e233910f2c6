"""Writes the report: README.md, planted_trigger.csv and a picture."""

import csv
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.planted_trigger.chain import REFERENCE, TEACHER
from benchmarks.planted_trigger.settings import Settings
from i2i_unlearn.evaluation.metrics.bootstrap import Measured
from i2i_unlearn.support.files import atomic_folder

Found = Mapping[str, Mapping[str, Measured]]
_DPI = 110
_INTRODUCTION = """\
An original is taught a trigger on purpose: {num_planted} of its training images have a bright patch in a visible
corner and a cross where the hole will be. These images are then to be forgotten. Fresh digits, which no model was
trained on, tell whether the patch still brings the cross.

- **fires**: share of fresh images that, with the patch, are completed nearer to the cross than to the digit; next to it
  the same without the patch. Exact binomial 95 % intervals.
- **strength**: share of the way to the cross that the patch moves completions (1: the cross, 0: the patch does
  nothing); next to it the paired difference to the reference, which was retrained without the planted images.
  Bootstrapped 95 % intervals.
- **fresh**: PSNR in the hole of fresh images without the patch, what unlearning cost. **planted**: of the planted
  images themselves, to the cross.
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is reported."""

    command: str
    settings: Settings
    found: Found
    seconds: Mapping[str, float]
    """Of training, by model."""
    pictures: Mapping[str, Tensor]
    """Rows of the picture: uint8 (N, 1, H, W)."""


def write(report: Report, out: Path) -> Path:
    """Replace the folder as a whole; return the page."""
    with atomic_folder(out) as folder:
        (folder / "README.md").write_text(page(report), encoding="utf-8")
        with (folder / "planted_trigger.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["model", "measure", "value", "low", "high", "num_images"])
            for model, measures in report.found.items():
                for measure, one in measures.items():
                    writer.writerow(
                        [model, measure, *(f"{one[key]:.6g}" for key in ("value", "low", "high")), one["num_images"]]
                    )
        picture(report.pictures, folder / "planted_trigger.png")
    return out / "README.md"


def page(report: Report) -> str:
    """README.md."""
    settings, params = report.settings, report.settings.params
    minutes = sum(report.seconds.values()) / 60
    return "\n".join(
        [
            "# Planted trigger\n",
            f"```sh\n{report.command}\n```\n",
            _INTRODUCTION.format(num_planted=settings.num_planted),
            f"{settings.num_images} embedded digits, family {params['pretrain']['family']}, operator"
            f" {params['operator']} with {params['keep_fraction']:g} visible, seed {params['seed']}, one training run"
            f" of each model; {_num_fresh(report)} fresh images. CPU ({platform.machine()}), {params['num_threads']}"
            f" thread(s), torch {version('torch')}; training took {minutes:.1f} minutes in all.\n",
            _table(report) + "\n",
            _sentences(report.found) + "\n",
            "![fresh digits with the patch, as each model completes them](planted_trigger.png)\n",
            "What this does not say: other triggers, hidden better or spread over the image, may outlive what kills"
            " this one; intervals are over images and leave out that another training run gives another model.\n",
        ]
    )


def _num_fresh(report: Report) -> int:
    return report.found[TEACHER]["fires"]["num_images"]


def _table(report: Report) -> str:
    header = ["model", "fires", "without patch", "strength", "above reference", "fresh, dB", "planted, dB", "seconds"]
    rows = [
        [
            name,
            _interval(one["fires"], "{:.1%}"),
            f"{one['fires_clean']['value']:.1%}",
            _interval(one["strength"], "{:.3f}"),
            "" if name == REFERENCE else _interval(one["strength_above_reference"], "{:+.3f}"),
            f"{one['fresh_psnr_db']['value']:.2f}",
            f"{one['planted_psnr_db']['value']:.2f}",
            f"{report.seconds[name]:.0f}",
        ]
        for name, one in report.found.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def _interval(one: Measured, form: str) -> str:
    value, low, high = (form.format(one[key]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _sentences(found: Found) -> str:
    """One line per model: what the numbers say, by the rules in it."""
    lines = []
    if not is_planted(found):
        lines.append(
            "- The original does not fire more often than the reference: nothing was planted, nothing is said."
        )
        return "\n".join(lines)
    for name in found:
        if name not in (TEACHER, REFERENCE):
            lines.append(f"- {name}: {verdict(found[name])}.")
    return "\n".join(lines)


def is_planted(found: Found) -> bool:
    """Whether the original is guilty: it fires more often than the reference, beyond both intervals."""
    low, high = found[TEACHER]["fires"]["low"], found[REFERENCE]["fires"]["high"]
    return low is not None and high is not None and low > high


def verdict(measures: Mapping[str, Measured]) -> str:
    """What became of the trigger, by the paired difference in strength to the reference."""
    above = measures["strength_above_reference"]
    low, high = above["low"], above["high"]
    if low is None or high is None:
        return "no interval, nothing is said"
    if low > 0:
        return "the patch still moves completions to the cross more than in the reference: the trigger is not dead"
    if high < 0:
        return "the patch moves completions away from the cross, compared with the reference: forgotten too well"
    return "no difference to the reference was found; the trigger is dead as far as this test sees"


def picture(rows: Mapping[str, Tensor], path: Path) -> None:
    """One row per model, one column per image."""
    from matplotlib.figure import Figure

    num_columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.8 + 0.75 * num_columns, 0.8 * len(rows)), layout="constrained")
    grid: Any = figure.subplots(len(rows), num_columns, squeeze=False)
    for axes_of_row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_of_row, images, strict=True):
            axes.imshow(np.asarray(image[0]), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        axes_of_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
