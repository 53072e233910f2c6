"""Images and forget requests of a data set, made once under the cache folder.

    embedded (digits, photos)   as the product writes them
    cifar10                     Parquet files with "train" and "test" in their names, brought by the product's importer

With a limit, a random subset of each file is taken.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.quality.settings import DataSet, Wanted
from i2i_unlearn.data.images.holdout import TRAIN, draws, training_part
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import write_shards
from i2i_unlearn.data.importers.embedded import EMBEDDED, write_embedded
from i2i_unlearn.data.importers.run import ImportSettings, import_images
from i2i_unlearn.data.request import ForgetRequest, Selector, request_bytes, write_request
from i2i_unlearn.data.split.manifest import digest_images, fingerprints
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file, atomic_folder

RECEIVED, DUE = datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)  # fixed: the files are the same everywhere
# Codes of sample ids protect persons; these sets are public, and with one key manifests are the same everywhere.
PUBLIC_KEY = "00" * 32


@dataclass(frozen=True)
class Source:
    """A data set that is ready."""

    name: str
    images: str
    requests: str
    """Folder of the requests."""
    image_digest: str
    request_bytes: dict[str, str]
    """By request id; part of the keys."""
    hmac_key: str


def prepare(name: str, data: DataSet, cache: Path, *, cifar10: Path, seed: int, holdout_fraction: float) -> Source:
    """Bring images and requests.

    Raises:
        UserError: the CIFAR-10 files are not there, or a request selects nothing.
    """
    folder = cache / "data" / (f"{name}-{data.limit}" if data.limit else name)
    if not (folder / "images").is_dir():
        with atomic_folder(folder) as aside:
            _bring(data, aside, cifar10)
    index = read_index(str(folder / "images"))
    key = cache / "hmac.key"
    if not key.exists():
        with atomic_file(key) as aside:
            aside.write_text(PUBLIC_KEY + "\n")
    written = {}
    for request_id, wanted in data.requests.items():
        request = _request(request_id, wanted, index, seed, holdout_fraction)
        written[request_id] = request_bytes(request).decode()
        path = folder / "forget" / f"{request_id}.yaml"
        if path.exists() and path.read_text() != written[request_id]:
            path.unlink()
        if not path.exists():
            write_request(request, path)
    return Source(
        name=name,
        images=str(folder / "images"),
        requests=str(folder / "forget"),
        image_digest=digest_images(fingerprints(index)),
        request_bytes=written,
        hmac_key=str(key),
    )


def _bring(data: DataSet, folder: Path, cifar10: Path) -> None:
    if data.source in EMBEDDED:
        if not data.limit:
            write_embedded(data.source, folder)
        else:
            records = list(EMBEDDED[data.source].records())
            write_shards((records[row] for row in _some_rows(len(records), data.limit)), folder / "images", data.source)
        return
    files = sorted(cifar10.glob("cifar10-*.parquet"))
    if not files:
        raise UserError(f"{cifar10}: no cifar10-*.parquet there; name the folder that holds them with --cifar10")
    limited = folder / "limited"
    limited.mkdir()
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    for path in files:
        table = pq.read_table(path)
        if data.limit:
            table = table.take(_some_rows(len(table), round(len(table) * data.limit / total)))
        pq.write_table(table, limited / path.name)
    import_images(limited, folder, ImportSettings(name="cifar10", layout="parquet"), tell=print)
    for path in limited.iterdir():
        path.unlink()
    limited.rmdir()


def _some_rows(total: int, count: int) -> list[int]:
    """A random subset in order; files are often sorted by class."""
    rows = np.random.default_rng(0).permutation(total)[:count]
    return [int(row) for row in np.sort(rows)]


def _request(request_id: str, wanted: Wanted, index: pd.DataFrame, seed: int, holdout_fraction: float) -> ForgetRequest:
    selector = (
        Selector(labels=wanted.labels)
        if wanted.labels
        else Selector(sample_ids=_singles(index, wanted.num_singles, seed, holdout_fraction))
    )
    return ForgetRequest(id=request_id, received=RECEIVED, due=DUE, basis="benchmark", selector=selector)


def _singles(index: pd.DataFrame, count: int, seed: int, holdout_fraction: float) -> tuple[str, ...]:
    """Training images of which there is no copy, chosen by a draw from their bytes."""
    part = training_part(index, holdout_fraction=holdout_fraction, seed=seed)
    once = ~index["sha256"].duplicated(keep=False).to_numpy()
    order = np.argsort(draws(index, "benchmark singles", seed), kind="stable")
    chosen = [row for row in order if once[row] and part[row] == TRAIN][:count]
    return tuple(sorted(str(index["sample_id"].iloc[row]) for row in chosen))
