"""The page of images that look like a photograph, for the person who files a request, for some days (review.py)."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from i2i_unlearn.data.search.nearest import Found
from i2i_unlearn.report import words
from i2i_unlearn.report.page import sealed
from i2i_unlearn.report.pictures import data_uri, encode_png
from i2i_unlearn.report.review import write_owner_only

_SIDE = 160  # pixels: enough to recognise what is shown


def write_similar(
    photographs: Mapping[str, tuple[Image.Image, Sequence[Found]]], expires: datetime.date, folder: Path
) -> Path:
    """Write the page into `folder`, as `write_review` does; return its path.

    `photographs` holds each one by name, with the images found. The same names and images give the same page.

    Raises:
        UserError: the folder has a .gitignore of its own.
    """
    page = render(photographs, expires)
    of_what = hashlib.sha256("\n".join(photographs).encode()).hexdigest()[:12]
    return write_owner_only(folder, f"similar-images-{of_what}-until-{expires.isoformat()}.html", page)


def render(photographs: Mapping[str, tuple[Image.Image, Sequence[Found]]], expires: datetime.date) -> str:
    """The page as text. Equal input gives equal bytes."""
    views = [
        {"name": name, "source": _source(picture), "found": [_view(one) for one in found]}
        for name, (picture, found) in photographs.items()
    ]
    return sealed("similar.html.j2", "", {"expires": expires.isoformat(), "photographs": views})


def _view(one: Found) -> dict[str, object]:
    return {
        "source": _source(one.picture),
        "sample_id": one.sample_id,
        "labels": words.listed(one.labels),
        "subjects": words.listed(one.subjects),
        "is_same": one.is_same,
        "correlation": f"{one.correlation:.2f}",
    }


def _source(picture: Image.Image) -> str:
    pixels = np.asarray(picture)
    return data_uri(encode_png(pixels if pixels.ndim == 3 else pixels[..., None], _SIDE))  # noqa: PLR2004
