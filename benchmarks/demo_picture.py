"""The README's picture: the same digits as completed by the original, both methods' models and a retrained one.

`python -m benchmarks.demo_picture DEMO PAPER OUT.png`: folders of a finished `make demo` and of a finished
`make demo PRESET=paper`.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import hide, make_operator
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.report.plots import picture_sheet

NUM_IMAGES = 4
SEED = 0


def main(demo: Path, paper: Path, out: Path) -> None:
    """Draw `NUM_IMAGES` digits to forget and as many to keep, each completed by four models."""
    folders = {
        "Before": demo / "artifacts/teacher/model",
        "Default": demo / "artifacts/unlearned/model",
        "Paper": paper / "artifacts/unlearned/model",
        "Retrained": demo / "artifacts/reference/1/model",
    }
    models = {name: load_model(folder, "") for name, folder in folders.items()}
    first = models["Before"]
    manifest = read_manifest(demo / "artifacts/splits/manifest.parquet")
    blocks = []
    for title, role in (("Images to forget", "forget"), ("Images to keep", "retain")):
        rows = manifest.of(role).sample(NUM_IMAGES, random_state=SEED)
        pixels = load_pixels(
            str(demo / "data/images"),
            rows,
            image_size=first.image_size,
            num_channels=first.num_channels,
            description="",
        )
        images = to_float(pixels)
        visible = make_operator("center_hole", 0.75, 7).draw(len(images), *first.image_size, torch.Generator())
        shown = {"Image": images, "Given": hide(images, visible)}
        with torch.inference_mode():
            shown |= {
                name: model.complete(images, visible, generator=torch.Generator().manual_seed(SEED))
                for name, model in models.items()
            }
        columns = {name: list(np.asarray(to_uint8(each).permute(0, 2, 3, 1))) for name, each in shown.items()}
        blocks.append((title, columns))
    out.write_bytes(picture_sheet(blocks, ""))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
