"""Pictures to send."""

import base64
import io

import numpy as np
from PIL import Image

from tests.registry.world import SIZE


def pixels(num: int = 3, seed: int = 0) -> np.ndarray:
    """Grey images (B, H, W, C)."""
    return np.random.default_rng(seed).integers(0, 256, (num, SIZE, SIZE, 1), dtype=np.uint8)


def as_bytes(image: np.ndarray, kind: str = "PNG", **how: object) -> bytes:
    """A picture file of an array (H, W) or (H, W, C)."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image).save(buffer, kind, **how)
    return buffer.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png(image: np.ndarray) -> str:
    return in_base64(as_bytes(image))


def from_png(text: str) -> np.ndarray:
    """(H, W, C) of an answer."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    return picture[..., None] if picture.ndim == 2 else picture
