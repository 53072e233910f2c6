"""Stage `split`: resolve the forget requests to a role for every image (the rules: `data/roles.py`)."""

from pathlib import Path

from i2i_unlearn.config import SplitConfig
from i2i_unlearn.data.identity import hmac_id, load_key
from i2i_unlearn.data.images import read_index
from i2i_unlearn.data.manifest import ROLES, SplitManifest, digest_images, fingerprints, write_manifest
from i2i_unlearn.data.requests import ForgetRequest, read_named_requests
from i2i_unlearn.data.roles import assign_roles
from i2i_unlearn.files import atomic_folder, digest_file, write_json


def run(
    images: str, requests: str, out: str | Path, config: SplitConfig, *, hmac_key_file: str | None = None
) -> dict[str, float | str]:
    """Give every image its role; write manifest.parquet and summary.json under `out`; return the summary.

    Args:
        images: URI of the image shards.
        requests: folder of forget requests.
        out: folder of the outputs; replaced as a whole.
        config: section `split`.
        hmac_key_file: key of the codes that stand for sample ids; None = as `data.identity.key_path` finds it.

    Raises:
        UserError: a request is missing or wrong, selects no training image or leaves none, or treats copies of the same
            image differently.
    """
    key = load_key(hmac_key_file)
    active, erased = read_named_requests(requests, config.requests, config.erased)
    index = read_index(images)
    assigned = assign_roles(index, active, erased, config)
    shard_fingerprints = fingerprints(index)
    names = [hmac_id(key, sample_id) for sample_id in index["sample_id"]]
    manifest = SplitManifest(
        rows=index[["shard", "row"]].assign(part=assigned.part, role=assigned.role, hmac_id=names),
        fingerprints=shard_fingerprints,
        requests=tuple(sorted(config.requests)),
        erased=tuple(sorted(config.erased)),
        image_digest=digest_images(shard_fingerprints),
    )
    with atomic_folder(out) as folder:
        write_manifest(manifest, folder / "manifest.parquet")
        facts = _facts(manifest, active, digest_file(folder / "manifest.parquet"))
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
        "selected_by": ",".join(_columns(active)),
        "image_digest": manifest.image_digest,
        "manifest_sha256": manifest_sha256,
    }


def _columns(active: list[ForgetRequest]) -> list[str]:
    """By what the requests select: label, subject, sample_id."""
    selected = (request.selector.wanted() for request in active)
    return sorted({column for wanted in selected for column, values in wanted.items() if values})
