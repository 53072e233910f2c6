"""Add the images of a promoted version to the list of the forgotten (data/forgotten.py), which outlives the images."""

from pathlib import Path
from tempfile import TemporaryDirectory

from i2i_unlearn.data.forgotten import FILE
from i2i_unlearn.data.split.manifest import BYTES_CODE, ERASED, FORGET, FORGET_HOLDOUT, SplitManifest
from i2i_unlearn.registry import lineage, tracking
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import UserError


def note(server: tracking.Server, champion: tracking.Version, requests: str | Path) -> str:
    """Add what `champion` has forgotten to the list in the folder `requests`; say what was done, or why nothing was.

    Returns an empty string if the list already holds them. The promotion stands whatever comes of this, so
    nothing is raised; the next `registry promote` or `request add` tries again.
    """
    path = Path(requests) / FILE
    if not path.parent.is_dir():
        return (
            f"{path}: not written, since this machine has no folder {requests}; run `i2i-unlearn request add` or "
            "`registry promote` where the requests are, before the images are deleted there"
        )
    try:
        with TemporaryDirectory() as folder:
            manifest = lineage.manifest_of(server, champion, Path(folder))
        return _add(manifest, path) if manifest else ""
    except UserError as error:
        return f"{path}: not written ({error})"


def _add(manifest: SplitManifest, path: Path) -> str:
    rows = manifest.rows
    if not manifest.key_code:
        return f"{path}: not written, since an older i2i-unlearn made the version's split manifest, which has no codes"
    added = 0
    with ledger.opened(path) as record:
        known = {code for line in record.records() for code in line["codes"]}
        for requests, roles in ((manifest.requests, (FORGET, FORGET_HOLDOUT)), (manifest.erased, (ERASED,))):
            new = sorted({*rows.loc[rows["role"].isin(roles), BYTES_CODE]} - known - {""})
            if new:
                record.append({"requests": list(requests), "key_code": manifest.key_code, "codes": new})
                added += len(new)
    return f"{path}: {added} images added, which will be recognised if they come back" if added else ""
