"""Earlier requests: images that promoted models were made to forget and that are still in the data.

Each request is judged by audit rank_shift as the present one is: entry `earlier_requests` of metrics.json holds one
entry of that audit by request. Requests of fewer images than the audit needs are judged together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.split.manifest import EARLIER_FILE, ERASED, SplitManifest
from i2i_unlearn.evaluation.audits.base import AuditInputs
from i2i_unlearn.evaluation.audits.rank_shift import AUDIT, FEWEST
from i2i_unlearn.evaluation.findings import EARLIER_HOLDOUT, NEVER_SEEN_SETS
from i2i_unlearn.evaluation.inputs import ChosenSet, choose, read_labels
from i2i_unlearn.evaluation.original_table import OriginalTable
from i2i_unlearn.evaluation.rank_entry import Observed, labels_of, rank_entry
from i2i_unlearn.support.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EarlierImages:
    """The images that are scored."""

    requests: Mapping[str, ChosenSet]
    """Training images by request, or by several ids where the requests are judged together; empty where none of a
    request's images is left."""
    holdout: ChosenSet
    """Images that an earlier request selected and no model was trained on."""

    def known_to(self, table: OriginalTable) -> "EarlierImages":
        """Without images that the table of an original lacks."""
        requests = {name: table.known(chosen) for name, chosen in self.requests.items()}
        return EarlierImages(requests=requests, holdout=table.known(self.holdout))

    def sets(self) -> dict[str, ChosenSet]:
        """By the name of the set; without those that have no image left."""
        every = {_set_of(name): chosen for name, chosen in self.requests.items()} | {EARLIER_HOLDOUT: self.holdout}
        return {name: chosen for name, chosen in every.items() if len(chosen.rows)}


def read_earlier(images: str, splits: Path, manifest: SplitManifest, config: EvaluateConfig) -> EarlierImages:
    """Images of the promoted requests, at most `max_images` of each; none where audit rank_shift is not to be made.

    Raises:
        UserError: the split does not say which request selected which image, or says it of another split.
    """
    promoted = manifest.erased if AUDIT.name in config.audits.run else ()
    listed = _read(splits / EARLIER_FILE, manifest) if promoted else manifest.of().assign(request="")
    trained = listed[listed["part"] == TRAIN]
    held_out = listed[listed["part"] != TRAIN].drop_duplicates(["shard", "row"])
    rows = {id_: trained[trained["request"] == id_] for id_ in promoted}
    small = [id_ for id_, own in rows.items() if len(own) < FEWEST]
    if len(small) > 1:
        together = trained[trained["request"].isin(small)].drop_duplicates(["shard", "row"])
        rows = {id_: own for id_, own in rows.items() if id_ not in small} | {", ".join(small): together}
    labels = read_labels(images)
    return EarlierImages(
        requests={name: choose(own, _set_of(name), config, labels) for name, own in rows.items()},
        holdout=choose(held_out, EARLIER_HOLDOUT, config, labels),
    )


def earlier_entries(attacked: AuditInputs, earlier: EarlierImages, seen: Observed) -> dict[str, Any]:
    """Entry `earlier_requests` of metrics.json.

    `attacked` has what was observed of the present request, `seen` what was observed of the images of `earlier.sets()`.
    """
    sets = earlier.sets()
    never_seen = [name for name in NEVER_SEEN_SETS if name in attacked.observed]
    shared = {name: attacked.observed[name] for name in never_seen}
    labels = {name: attacked.labels[name] for name in never_seen}
    if EARLIER_HOLDOUT in sets:
        shared[EARLIER_HOLDOUT] = seen[EARLIER_HOLDOUT]
        labels[EARLIER_HOLDOUT] = labels_of(sets[EARLIER_HOLDOUT])
    entries = {}
    for name, chosen in earlier.requests.items():
        own = {"forget": seen[_set_of(name)]} if len(chosen.rows) else {}
        entries[name] = rank_entry(attacked, {**shared, **own}, {**labels, "forget": labels_of(chosen)})
    return entries


def _set_of(request: str) -> str:
    return f"earlier {request}"


def _read(path: Path, manifest: SplitManifest) -> pd.DataFrame:
    """Columns request, shard, row, part."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, but earlier requests ({', '.join(manifest.erased)}) are judged too; run"
            " `i2i-unlearn split` again"
        )
    listed = pd.read_csv(path, dtype={"request": str, "shard": str, "row": int})
    known = listed.merge(manifest.of(ERASED), on=["shard", "row"])
    if len(known) != len(listed) or not set(listed["request"]) <= set(manifest.erased):
        raise UserError(f"{path}: of another manifest.parquet; run `i2i-unlearn split` again")
    return known
