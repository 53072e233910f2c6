"""How many copies `find` finds, and how fast: the tables of docs/results/find.md.

    python -m benchmarks.find quality TABLE.parquet [MORE.parquet]      photographs with columns sample_id, label, image
    python -m benchmarks.find speed TABLE.parquet --num-images 1000000

`quality` makes an index of 10,000 of the photographs and looks for changed copies of 200 of them, also by the hash of
near-copy search alone, of the photograph in its eight ways. `speed` writes shards of as many images: the photographs
again and again, each with an id of its own.
"""

import argparse
import io
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps

from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.search.description import turned
from i2i_unlearn.data.search.index import Opened, open_index
from i2i_unlearn.data.search.nearest import nearest, ranked
from i2i_unlearn.data.split.picture_hash import hashes, thumbnail
from i2i_unlearn.support.progress import progress
from i2i_unlearn.support.table import table

NUM_INDEXED, NUM_LOOKED_FOR, TOP = 10_000, 200, 10
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def saved(picture: Image.Image, quality: int) -> Image.Image:
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=quality)
    return decoded(written.getvalue())


def decoded(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image)).convert("RGB")


def cropped(picture: Image.Image, share: float, down: float, right: float) -> Image.Image:
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = round((picture.width - width) * right), round((picture.height - height) * down)
    return picture.crop((left, top, left + width, top + height))


CHANGES: dict[str, Change] = {
    "JPEG, quality 30": lambda picture, _: saved(picture, 30),
    "middle 80 % of each side": lambda picture, _: cropped(picture, 0.8, 0.5, 0.5),
    "80 %, anywhere": lambda picture, rng: cropped(picture, 0.8, *rng.random(2)),
    "90 %, anywhere": lambda picture, rng: cropped(picture, 0.9, *rng.random(2)),
    "brightness x 1.4": lambda picture, _: ImageEnhance.Brightness(picture).enhance(1.4),
    "brightness x 0.6": lambda picture, _: ImageEnhance.Brightness(picture).enhance(0.6),
    "half the size": lambda picture, _: picture.resize((picture.width // 2, picture.height // 2)),
    "mirrored": lambda picture, _: ImageOps.mirror(picture),
    "turned by a quarter": lambda picture, _: picture.rotate(90, expand=True),
    "colour channels exchanged": lambda picture, _: Image.merge("RGB", [picture.split()[i] for i in (2, 0, 1)]),
    "80 % anywhere, mirrored, JPEG 50": lambda picture, rng: saved(
        ImageOps.mirror(cropped(picture, 0.8, *rng.random(2))), 50
    ),
}


def photographs(paths: Sequence[Path]) -> Iterator[tuple[str, str, bytes]]:
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["sample_id", "label", "image"]):
            for row in batch.to_pylist():
                yield row["sample_id"], row["label"], row["image"]


def quality(paths: Sequence[Path], folder: Path) -> None:
    images = folder / "images"
    every = list(photographs(paths))
    indexed, strangers = every[:NUM_INDEXED], every[NUM_INDEXED : NUM_INDEXED + NUM_LOOKED_FOR]
    write_shards((Record(*one) for one in indexed), images, "photographs")
    opened = open_index(str(images), folder / "index")
    pictures = [decoded(image) for _, _, image in indexed]
    hashes_N = hashes(np.stack([thumbnail(one) for one in pictures]))
    chosen = np.random.default_rng(0).choice(len(pictures), NUM_LOOKED_FOR, replace=False).tolist()
    rows = []
    with progress("looking for copies", len(CHANGES)) as advance:
        for name, change in CHANGES.items():
            rng = np.random.default_rng(1)
            copies = {number: change(pictures[number], rng) for number in chosen}
            by_hash = np.mean([hash_rank(copy, hashes_N, number) < TOP for number, copy in copies.items()])
            found = [looked_for(opened, images, copy, indexed[number][0]) for number, copy in copies.items()]
            first, in_top, is_same, others = np.mean(found, axis=0)
            rows.append((name, *map(percent, (by_hash, in_top, first, is_same, others))))
            advance()
    print(table(("copy", "hash alone, first 10", "first 10", "first", "called the same", "others called so"), rows))
    is_wrong = [any(one.is_same for one in nearest(opened, str(images), decoded(one), TOP)[0]) for *_, one in strangers]
    print(
        f"photographs that are not in the index, of which some image is called the same: {percent(np.mean(is_wrong))}"
    )


def looked_for(opened: Opened, images: Path, copy: Image.Image, sample_id: str) -> tuple[bool, bool, bool, bool]:
    """Whether the image is first, is among the first, is called the same, and whether another one is."""
    found, _ = nearest(opened, str(images), copy, TOP)
    names = [one.sample_id for one in found]
    same = {one.sample_id for one in found if one.is_same}
    return names[0] == sample_id, sample_id in names, sample_id in same, bool(same - {sample_id})


def hash_rank(copy: Image.Image, hashes_N: np.ndarray, number: int) -> int:
    """How many images have a hash nearer to that of the copy, in the best of its eight ways, than its own image."""
    of_copy = hashes(np.stack(turned(thumbnail(copy))))
    bits = np.bitwise_count(of_copy[:, None] ^ hashes_N[None]).min(axis=0)
    return int((bits < bits[number]).sum())


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def repeated(paths: Sequence[Path], num_images: int) -> Iterator[Record]:
    every = list(photographs(paths))
    with progress("writing images", num_images) as advance:
        for number in range(num_images):
            _, label, image = every[number % len(every)]
            yield Record(f"{number:07d}", label, image)
            advance()


def speed(paths: Sequence[Path], folder: Path, num_images: int) -> None:
    images = folder / "images"
    if not images.exists():
        write_shards(repeated(paths, num_images), images, "many")
    measured("index made", lambda: open_index(str(images), folder / "index"))
    opened = measured("index opened", lambda: open_index(str(images), folder / "index"))
    for _, _, image in list(photographs(paths))[:5]:
        picture = saved(cropped(decoded(image), 0.9, 0, 1), 60)
        measured("order of all images", lambda one=picture: next(ranked(opened, one)))
        measured("answer, with pictures", lambda one=picture: nearest(opened, str(images), one, TOP))
    size = sum(path.stat().st_size for path in (folder / "index").rglob("*.npy"))
    print(f"index: {opened.num_images} images, {size / 2**20:.0f} MiB")


def measured(what: str, call: Callable[[], Any]) -> Any:
    begin, cpu = time.perf_counter(), time.process_time()
    result = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = f"{time.perf_counter() - begin:.2f} s, {time.process_time() - cpu:.2f} s of CPU"
    print(f"{what}: {took}, peak memory so far {peak:.0f} MiB", flush=True)
    return result


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.find", description=__doc__)
    parser.add_argument("what", choices=("quality", "speed"))
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--num-images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where shards and index are written and kept")
    given = parser.parse_args(arguments)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="find-"))
    try:
        if given.what == "quality":
            quality(given.photographs, folder)
        else:
            speed(given.photographs, folder, given.num_images)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
