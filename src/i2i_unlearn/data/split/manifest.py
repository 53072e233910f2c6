"""The split manifest: one row per image with its role, the audit record of what was forgotten.

It is passed between steps and logged to the registry, so it names images by shard, row number and keyed code; sample
ids, subjects and digests of single images stay in the shards.
"""

import hashlib
import io
import json
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from i2i_unlearn.data.images.layout import damage_told
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file

FORGET = "forget"
ERASED = "erased"
RETAIN = "retain"
PROXY_RETAIN = "proxy_retain"
UNSEEN_TARGET = "unseen_target"
FORGET_HOLDOUT = "forget_holdout"
RETAIN_HOLDOUT = "retain_holdout"
UNUSED = "unused"
DROPPED = "dropped"
ROLES = (FORGET, ERASED, RETAIN, PROXY_RETAIN, UNSEEN_TARGET, FORGET_HOLDOUT, RETAIN_HOLDOUT, UNUSED, DROPPED)

EARLIER_FILE = "earlier_requests.csv"
"""Next to the manifest: which images each promoted request selected."""
SCHEMA_VERSION = 1
BYTES_CODE = "hmac_bytes"
"""The column that manifests of older versions lack."""
_METADATA_KEY = b"i2i_unlearn.split_manifest"
_FACTS = ("fingerprints", "requests", "erased", "image_digest")
"""Keys of the metadata that are always there."""
_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("hmac_id", pa.string(), nullable=False),
        pa.field(BYTES_CODE, pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class SplitManifest:
    """Roles of all images."""

    rows: pd.DataFrame = field(compare=False)
    """Columns shard, row, part (train or holdout), role, hmac_id, in the order of the index; `==` ignores them.
    hmac_bytes: the code of the bytes of images to be forgotten or erased (data/forgotten.py), else empty."""
    fingerprints: dict[str, str]
    """For each shard the digest of its ids and image digests, by which a manifest of other images is recognised."""
    requests: tuple[str, ...]
    """Ids of the active requests, sorted."""
    erased: tuple[str, ...]
    """Ids of the promoted requests, sorted."""
    image_digest: str
    """Digest of all images together."""
    key_code: str = ""
    """Which key made hmac_bytes; empty in manifests of older versions, which have none."""

    def of(self, *roles: str) -> pd.DataFrame:
        """Rows that have one of `roles`, in manifest order, numbered from 0."""
        unknown = set(roles) - set(ROLES)
        if unknown:
            raise ValueError(f"unknown roles {sorted(unknown)}")
        return self.rows[self.rows["role"].isin(roles)].reset_index(drop=True)


def fingerprints(index: pd.DataFrame) -> dict[str, str]:
    """For each shard of `index` the sha256 over its sample ids, image digests and how they are read."""
    result = {}
    for shard, rows in index.groupby("shard", sort=True):
        total = hashlib.sha256()
        for sample_id, sha256 in zip(rows["sample_id"], rows["sha256"], strict=True):
            total.update(json.dumps([sample_id, sha256]).encode())
        if "reading" in rows and isinstance(rows["reading"].iloc[0], str):  # other pixels, although the same bytes
            total.update(rows["reading"].iloc[0].encode())
        result[str(shard)] = total.hexdigest()
    return result


def digest_images(shard_fingerprints: dict[str, str]) -> str:
    """One digest for all shards."""
    return hashlib.sha256(json.dumps(sorted(shard_fingerprints.items())).encode()).hexdigest()


def write_manifest(manifest: SplitManifest, path: str | Path) -> None:
    """Write `manifest` whole or not at all; reading gives the same facts and rows, equal manifests give equal bytes."""
    held = {key: value for key, value in vars(manifest).items() if key != "rows"}
    facts = json.dumps({"schema_version": SCHEMA_VERSION, **held}, sort_keys=True)
    schema = _columns(manifest.rows).with_metadata({_METADATA_KEY: facts.encode()})
    table = pa.Table.from_pandas(manifest.rows[schema.names], schema=schema, preserve_index=False)
    with atomic_file(path) as aside:
        pq.write_table(table.replace_schema_metadata(schema.metadata), aside, compression="zstd")


def read_manifest(path: str | Path, images: str | None = None) -> SplitManifest:
    """Read a split manifest; with `images`, also check that it was made from these images.

    Raises:
        UserError: the file is missing, damaged or of another schema version, or the images differ.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no split manifest; make it with `i2i-unlearn split`")
    with damage_told(f"{path}: the split manifest is damaged", "run `i2i-unlearn split` again"):
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        table.validate(full=True)
    try:
        facts = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    except ValueError:  # not JSON, not UTF-8
        facts = {}
    if facts.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path}: has schema version {facts.get('schema_version')}, this program reads"
            f" {SCHEMA_VERSION}; run `i2i-unlearn split` again"
        )
    if lost := [name for name in _FACTS if name not in facts]:
        raise UserError(f"{path}: the split manifest is damaged: it has no {lost[0]}; run `i2i-unlearn split` again")
    missing = [name for name in _columns(table.column_names).names if name not in table.column_names]
    unknown = [] if "role" in missing else sorted(set(table["role"].to_pylist()) - set(ROLES))
    if missing or unknown:
        what = f"has no column {', '.join(missing)}" if missing else f"has the role {unknown[0]!r}, which is not known"
        raise UserError(f"{path}: the split manifest {what}; run `i2i-unlearn split` again")
    manifest = SplitManifest(
        rows=table.select(_columns(table.column_names).names).to_pandas(),
        fingerprints=facts["fingerprints"],
        requests=tuple(facts["requests"]),
        erased=tuple(facts["erased"]),
        image_digest=facts["image_digest"],
        key_code=facts.get("key_code", ""),
    )
    if images is not None:
        _check_images(path, manifest, fingerprints(read_index(images)), images)
    return manifest


def _columns(found: Container[str]) -> pa.Schema:
    return pa.schema([field for field in _SCHEMA if field.name != BYTES_CODE or BYTES_CODE in found])


def _check_images(path: Path, manifest: SplitManifest, found: dict[str, str], images: str) -> None:
    changed = sorted(
        shard
        for shard in manifest.fingerprints.keys() | found.keys()
        if manifest.fingerprints.get(shard) != found.get(shard)
    )
    if changed:
        raise UserError(
            f"{path}: made from other images than those in {images} (differing: {', '.join(changed[:5])}); run"
            " `i2i-unlearn split` again"
        )
