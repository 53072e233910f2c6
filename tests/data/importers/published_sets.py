"""ImageNet and Places-365 in miniature, in the layouts in which they are published."""

from pathlib import Path

import numpy as np
from PIL import Image

SYNSETS = ("n01440764", "n02123045", "n02814533", "n03445777", "n07753592")
CATEGORIES = ("/a/airfield", "/a/apartment_building/outdoor", "/b/bakery/shop", "/z/zen_garden")
SIZE = (40, 48)
"""Height and width in pixels, neither square nor that of a model."""


def write_image(path: Path, kind: int, number: int) -> None:
    """Waves, of a direction and colour of their kind; each image has a phase of its own."""
    rng = np.random.default_rng([kind, number])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    wave = np.sin((x * np.cos(kind) + y * np.sin(kind)) * 0.4 + rng.uniform(0, 6))
    channels = [128 + 100 * wave * np.cos(kind + part) + rng.normal(0, 6, SIZE) for part in range(3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)).save(path)


def write_imagenet(folder: Path, train: int = 8, val: int = 4) -> Path:
    """Folders train/SYNSET and val/SYNSET, as torchvision reads them."""
    for kind, synset in enumerate(SYNSETS):
        for number in range(train):
            write_image(folder / f"train/{synset}/{synset}_{number}.JPEG", kind, number)
        for number in range(val):
            write_image(folder / f"val/{synset}/ILSVRC2012_val_{kind * val + number + 1:08d}.JPEG", kind, 100 + number)
    return folder


def write_places365(folder: Path, train: int = 8, val: int = 4) -> Path:
    """File lists beside data_256_standard/ and val_256/."""
    trained, held = [], []
    for kind, category in enumerate(CATEGORIES):
        for number in range(1, train + 1):
            file = f"{category}/{number:08d}.jpg"
            write_image(folder / f"data_256_standard{file}", kind, number)
            trained.append(f"{file} {kind}")
    for number in range(val * len(CATEGORIES)):  # classes in turn, in one folder
        file = f"Places365_val_{number + 1:08d}.jpg"
        write_image(folder / "val_256" / file, number % len(CATEGORIES), 100 + number)
        held.append(f"{file} {number % len(CATEGORIES)}")
    lists = {
        "categories_places365.txt": [f"{category} {kind}" for kind, category in enumerate(CATEGORIES)],
        "places365_train_standard.txt": trained,
        "places365_val.txt": held,
        "places365_test.txt": ["Places365_test_00000001.jpg"],
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder
