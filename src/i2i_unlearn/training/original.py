"""What is recorded of how the original model was trained, handed on from summary to summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.support.files import digest_folder, read_json

ORIGINAL_IMAGES, ORIGINAL_STEPS = "original_images", "original_steps"
"""Keys of summaries: how many images the original was trained on, and in how many steps."""


def recorded_original(model: str | Path) -> dict[str, float | str]:
    """ORIGINAL_IMAGES and ORIGINAL_STEPS from the summary.json next to a model directory.

    Empty where there is none, where it is of other weights, or where it tells of neither.
    """
    model = Path(model)
    path = model.parent / "summary.json"
    summary = read_json(path) if path.is_file() else {}
    if not isinstance(summary, dict) or summary.get("model_sha256") != digest_folder(model):
        return {}
    if ORIGINAL_STEPS in summary:
        return {key: summary[key] for key in (ORIGINAL_IMAGES, ORIGINAL_STEPS)}
    if "num_images" in summary and "teacher_sha256" not in summary:  # trained from scratch
        return {ORIGINAL_IMAGES: summary["num_images"], ORIGINAL_STEPS: summary["steps"]}
    return {}


def original_in_tags(tags: Mapping[str, Any]) -> dict[str, float | str]:
    """The same from the tags of a registered version."""
    return {key: int(float(tags[key])) for key in (ORIGINAL_IMAGES, ORIGINAL_STEPS) if key in tags}
