"""How much better than the mean training image the original completes held-out images, in dB inside the hole.

    python -m benchmarks.teacher_gain

Reads what `make demo` or `dvc repro` left in data/ and artifacts/.
"""

from pathlib import Path

import torch
from torch import Tensor

from i2i_unlearn.config.sections import EvaluateConfig, load_params
from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import SplitManifest, read_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import generator_for

IMAGES = "data/images"


def pixels_of(manifest: SplitManifest, part: str, model: torch.nn.Module) -> Tensor:
    """All images of a part (train or holdout), float in [-1, 1]."""
    rows = manifest.rows[manifest.rows["part"] == part].reset_index(drop=True)
    size, channels = model.image_size, model.num_channels
    return to_float(load_pixels(IMAGES, rows, image_size=size, num_channels=channels, description=part))


def hole_psnr_db(completed_BCHW: Tensor, original_BCHW: Tensor, visible_BHW: Tensor) -> float:
    """PSNR of the set's mean squared error over hidden pixels, in [0, 1]."""
    hidden = ~visible_BHW.unsqueeze(1).expand_as(original_BCHW)
    squared = ((completed_BCHW - original_BCHW) / 2).square()[hidden]
    return float(-10 * torch.log10(squared.mean()))


def main() -> None:
    """Print both scores and the gain."""
    config = EvaluateConfig.from_params(load_params(), policies={})
    manifest = read_manifest(Path("artifacts/splits/manifest.parquet"), IMAGES)
    model = load_model("artifacts/teacher/model")
    mean_CHW = pixels_of(manifest, "train", model).mean(0)
    images_BCHW = pixels_of(manifest, "holdout", model)
    operator = make_operator(config.operator, config.keep_fraction, config.operator_patch_size)
    visible_BHW = operator.draw(len(images_BCHW), *model.image_size, generator_for(config.seed, "gain"))
    with torch.no_grad():
        completed_BCHW = model.complete(images_BCHW, visible_BHW, generator=generator_for(config.seed, "gain"))
    own = hole_psnr_db(completed_BCHW, images_BCHW, visible_BHW)
    mean = hole_psnr_db(mean_CHW.expand_as(images_BCHW), images_BCHW, visible_BHW)
    print(
        f"{len(images_BCHW)} held-out images: original {own:.2f} dB, mean image {mean:.2f} dB, gain {own - mean:.2f} dB"
    )


if __name__ == "__main__":
    main()
