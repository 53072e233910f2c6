"""Class prototypes: the mean image of each class, an aggregate that may be kept where no image may.

    mean_c = 1/n_c  sum of the n_c images of class c

Images that must be forgotten are taken out of a stored mean exactly, since they are available when they are forgotten:

    mean_c without F = (n_c mean_c - sum of F's images of class c) / (n_c - |F_c|)

A mean over few images is nearly one of them, so a class of fewer than `FEWEST` images has no prototype.
Shape letters: N images, C channels, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file

FEWEST = 10


@dataclass(frozen=True)
class Prototypes:
    """Mean images by class, float (C, H, W) in [-1, 1], and how many images each is the mean of."""

    means: dict[str, Tensor]
    counts: dict[str, int]

    def without(self, images_NCHW: Tensor, labels: Sequence[str]) -> "Prototypes":
        """As if these images (uint8, with their classes) had never entered; classes of too few others are left out.

        Raises:
            UserError: a class has more of these images than its mean is made of.
        """
        taken = _sums(images_NCHW, labels)
        means, counts = {}, {}
        for label, mean_CHW in self.means.items():
            sum_CHW, number = taken.get(label, (torch.zeros_like(mean_CHW, dtype=torch.float64), 0))
            left = self.counts[label] - number
            if left < 0:
                raise UserError(
                    f"the prototype of a class is the mean of {self.counts[label]} images, but {number} of that class "
                    "are to be forgotten; make the prototypes of all images that the model was trained on"
                )
            if left >= FEWEST:
                means[label] = ((self.counts[label] * mean_CHW.double() - sum_CHW) / left).float()
                counts[label] = left
        return Prototypes(means, counts)

    def stacked(self) -> Tensor:
        """All of them, (N, C, H, W), in the order of the classes' names."""
        return torch.stack([self.means[label] for label in sorted(self.means)])


def mean_images(images_NCHW: Tensor, labels: Sequence[str]) -> Prototypes:
    """Prototypes of uint8 images; a class of fewer than `FEWEST` has none."""
    sums = {label: entry for label, entry in _sums(images_NCHW, labels).items() if entry[1] >= FEWEST}
    return Prototypes(
        {label: (sum_CHW / number).float() for label, (sum_CHW, number) in sums.items()},
        {label: number for label, (_, number) in sums.items()},
    )


def _sums(images_NCHW: Tensor, labels: Sequence[str]) -> dict[str, tuple[Tensor, int]]:
    """Of each class the sum of its images in [-1, 1], and their number."""
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return {label: (to_float(images_NCHW[own]).double().sum(0), len(own)) for label, own in rows.items()}


def write_prototypes(prototypes: Prototypes, path: str | Path) -> None:
    """Write a safetensors file, whole or not at all; `read(write(p)) == p`."""
    tensors = {f"mean/{label}": mean.contiguous() for label, mean in prototypes.means.items()}
    tensors |= {f"count/{label}": torch.tensor(number) for label, number in prototypes.counts.items()}
    with atomic_file(path) as aside:
        save_file(tensors, aside)


def read_prototypes(path: str | Path, shape: tuple[int, int, int]) -> Prototypes:
    """Read what `write_prototypes` wrote; `shape` is (channels, height, width) of the model's images.

    Raises:
        UserError: the file is missing, damaged, or made for other images.
    """
    make = "make it with `i2i-unlearn data prototypes`"
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no prototypes there; {make}") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); {make}") from None
    means = {name.removeprefix("mean/"): one for name, one in tensors.items() if name.startswith("mean/")}
    counts = {name.removeprefix("count/"): one for name, one in tensors.items() if name.startswith("count/")}
    if not means or means.keys() != counts.keys():
        raise UserError(f"{path}: holds no prototypes; {make}")
    other = next((tuple(mean.shape) for mean in means.values() if tuple(mean.shape) != shape), None)
    if other:
        raise UserError(f"{path}: prototypes of the shape {other}, the model takes {shape}; {make}")
    return Prototypes(means, {label: int(number) for label, number in counts.items()})
