"""Stage `split`: resolve the forget requests to a role for every image (the rules are in data/split/roles.py)."""

from pathlib import Path

import numpy as np
import pandas as pd

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.forgotten import bytes_code, key_code, read_forgotten
from i2i_unlearn.data.images.canaries import CANARIES_FILE
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.request import ForgetRequest, read_named_requests
from i2i_unlearn.data.split.codes import hmac_id, load_key
from i2i_unlearn.data.split.holdout_likeness import are_alike
from i2i_unlearn.data.split.manifest import (
    EARLIER_FILE,
    ERASED,
    FORGET,
    FORGET_HOLDOUT,
    RETAIN_HOLDOUT,
    ROLES,
    SplitManifest,
    digest_images,
    fingerprints,
    write_manifest,
)
from i2i_unlearn.data.split.near_copy_rules import DROPPED, INCLUDED, KEPT
from i2i_unlearn.data.split.near_copy_search import Search
from i2i_unlearn.data.split.roles import Roles, assign_roles
from i2i_unlearn.support.files import atomic_folder, digest_file, write_json


def run(
    images: str, requests: str, out: str | Path, config: SplitConfig, *, hmac_key_file: str | None = None
) -> dict[str, float | str]:
    """Give every image its role; write the files below under `out`; return the summary.

    manifest.parquet       the role of every image
    near_duplicates.csv    near-copies of forget images and what was done; images by shard, row and code
    earlier_requests.csv   images of promoted requests that are still there: request, shard, row
    canaries.csv           images that entered the training of the original by a coin, or not: included, tested
    summary.json           counts

    `images` is the URI of the image shards, `requests` the folder of forget requests. `out` is replaced as a whole.
    `hmac_key_file` holds the key of the codes that stand for sample ids; None = as `codes.key_path` finds it.

    Raises:
        UserError: a request is missing or wrong, selects no training image or leaves none, or treats copies of the same
            image differently; or an image is damaged.
    """
    key = load_key(hmac_key_file)
    active, erased = read_named_requests(requests, config.requests, config.erased)
    index = read_index(images)
    search = Search(images, index, config.near_duplicates) if config.near_duplicates.search else None
    listed = read_forgotten(requests)
    forgotten = listed.look_up(key, index["sha256"]) if listed.requests else []
    assigned = assign_roles(index, active, erased, config, search, forgotten)
    shard_fingerprints = fingerprints(index)
    names = [hmac_id(key, sample_id) for sample_id in index["sample_id"]]
    gone = pd.Series(assigned.role).isin((FORGET, FORGET_HOLDOUT, ERASED)).to_numpy()
    codes = np.full(len(index), "", dtype=object)
    codes[gone] = [bytes_code(key, sha256) for sha256 in index.loc[gone, "sha256"]]
    manifest = SplitManifest(
        rows=index[["shard", "row"]].assign(part=assigned.part, role=assigned.role, hmac_id=names, hmac_bytes=codes),
        fingerprints=shard_fingerprints,
        requests=tuple(sorted(config.requests)),
        erased=tuple(sorted(config.erased)),
        image_digest=digest_images(shard_fingerprints),
        key_code=key_code(key),
    )
    with atomic_folder(out) as folder:
        write_manifest(manifest, folder / "manifest.parquet")
        _listed(assigned.copies, manifest.rows).to_csv(folder / "near_duplicates.csv", index=False, lineterminator="\n")
        _earlier(assigned, index).to_csv(folder / EARLIER_FILE, index=False, lineterminator="\n")
        assigned.canaries.listed(index).to_csv(folder / CANARIES_FILE, index=False, lineterminator="\n")
        facts = {
            **_facts(manifest, active, digest_file(folder / "manifest.parquet")),
            "num_came_back": int(assigned.came_back.sum()),
            "holdout_alike": are_alike(index, assigned.role == FORGET, assigned.role == RETAIN_HOLDOUT),
            **_copy_facts(assigned.copies, active, erased, search.confirmed_by if search else "not searched"),
        }
        write_json(folder / "summary.json", facts)
    return facts


def _facts(manifest: SplitManifest, active: list[ForgetRequest], manifest_sha256: str) -> dict[str, float | str]:
    counts = manifest.rows["role"].value_counts()
    return {
        "num_images": len(manifest.rows),
        **{f"num_{role}": int(counts.get(role, 0)) for role in ROLES},
        "requests": ",".join(manifest.requests),
        "erased": ",".join(manifest.erased),
        "due": min(request.due for request in active).isoformat(),
        "requests_received": ",".join(request.received.isoformat() for request in active),
        "requests_due": ",".join(request.due.isoformat() for request in active),
        "selected_by": ",".join(_columns(active)),
        "image_digest": manifest.image_digest,
        "manifest_sha256": manifest_sha256,
    }


def _earlier(assigned: Roles, index: pd.DataFrame) -> pd.DataFrame:
    """One line per promoted request and image; two requests may have selected the same one."""
    parts = [index.loc[own, ["shard", "row"]].assign(request=id_) for id_, own in assigned.earlier.items()]
    empty = pd.DataFrame({"request": [], "shard": [], "row": []})
    return pd.concat(parts)[list(empty)] if parts else empty


def _listed(copies: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """One line per near-copy and request; `of_` marks the image that it is a copy of."""
    copy, anchor = (rows.iloc[copies[end]].reset_index(drop=True) for end in ("copy", "anchor"))
    measured = {name: copies[name].map("{:.3f}".format).replace("nan", "") for name in ("correlation", "cosine")}
    return pd.DataFrame(
        {
            **copy[["shard", "row", "part", "hmac_id", "role"]],
            **anchor[["shard", "row", "part", "hmac_id"]].add_prefix("of_"),
            **copies[["request", "word", "done"]],
            "hash_bits": copies["hash_bits"].astype(int),
            **measured,
        }
    )


def _copy_facts(
    copies: pd.DataFrame, active: list[ForgetRequest], erased: list[ForgetRequest], confirmed_by: str
) -> dict[str, float | str]:
    """Counts images, not lines: a near-copy that concerns two requests counts once, for the active one."""
    of_active = copies["request"].isin([request.id for request in active])
    found = copies[of_active].drop_duplicates("copy")
    of_erased = set(copies.loc[~of_active, "copy"]) - set(found["copy"])
    done = found["done"].value_counts()
    return {
        "num_near_duplicates": len(found),
        **{f"near_duplicates_{what}": int(done.get(what, 0)) for what in (INCLUDED, DROPPED, KEPT)},
        "near_duplicates_of_erased": len(of_erased),
        "near_duplicates_confirmed_by": confirmed_by,
        "near_duplicates_words": ",".join(f"{request.id}:{request.near_duplicates}" for request in [*active, *erased]),
    }


def _columns(active: list[ForgetRequest]) -> list[str]:
    """What the requests select by: label, subject, sample_id."""
    selected = (request.selector.wanted() for request in active)
    return sorted({column for wanted in selected for column, values in wanted.items() if values})
