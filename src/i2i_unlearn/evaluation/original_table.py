"""What the original answers to every image, kept as numbers: evaluations can go on when its weights are destroyed.

A Parquet file without pixels, one row for each image (trained on or held out) and operator:

    code                                   keyed code of the sample id (data/split/codes.py), 32 characters
    operator                               NAME:KEEP_FRACTION
    error, contrast, roughness, edge, loss float32: as `ImageFacts`; NaN where a number does not exist

Its metadata say which model, key, seed and grid of patches it was made with. An evaluation that reads it must have the
same, and one of its operators. Where a model draws at random, its draws are not those of that evaluation.
"""

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from i2i_unlearn.config.sections import EvaluateConfig
from i2i_unlearn.data.images.layout import damage_told
from i2i_unlearn.data.split.manifest import SplitManifest
from i2i_unlearn.evaluation.inputs import ChosenSet, batches, operators_of
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.evaluation.metrics.observe import SetObserver
from i2i_unlearn.evaluation.rank_entry import NoFeatures
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file
from i2i_unlearn.support.progress import Advance, progress

FILE = "original_table.parquet"
SCHEMA_VERSION = 1
_METADATA_KEY = b"i2i_unlearn.original_table"
_COLUMNS = {"error": "hole_error_N", "contrast": "contrast_N", "roughness": "roughness_N", "edge": "edge_N"}
_COLUMNS |= {"loss": "own_loss_N"}
_SCHEMA = pa.schema(
    [pa.field("code", pa.string(), nullable=False), pa.field("operator", pa.string(), nullable=False)]
    + [pa.field(name, pa.float32(), nullable=False) for name in _COLUMNS]
)


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """How a table was made."""

    model_sha256: str
    """Of the original's model directory."""
    key_code: str
    """Of the key of the codes."""
    seed: int
    operator_patch_size: int
    image_digest: str
    """Of the images: a drawn mask belongs to an image's place in its shard."""


@dataclass(frozen=True)
class OriginalTable:
    """The rows, and how they were made."""

    facts: TableFacts
    rows: pd.DataFrame = field(compare=False)

    def check(self, manifest: SplitManifest, config: EvaluateConfig) -> None:
        """Refuse an evaluation that differs from the table's.

        Raises:
            UserError: it has another operator, seed or key.
        """
        had = sorted(set(self.rows["operator"]))
        wanted = [operator.label for operator in operators_of(config)]
        drawn = [operator.label for operator in operators_of(config) if not operator.fixed]
        faults = [f"operator {label} (it has {', '.join(had)})" for label in wanted if label not in had]
        if config.seed != self.facts.seed:
            faults.append(f"seed {config.seed} (it has {self.facts.seed})")
        if config.operator_patch_size != self.facts.operator_patch_size:
            faults.append(f"operator_patch_size {config.operator_patch_size} (it has {self.facts.operator_patch_size})")
        if manifest.key_code != self.facts.key_code:
            faults.append("another key for sample ids than the split's")
        if drawn and manifest.image_digest != self.facts.image_digest:
            faults.append(f"the masks that {', '.join(drawn)} draws for these images, whose shards have changed")
        if faults:
            raise UserError(
                "the original's weights are destroyed, and the table of its answers was not made with"
                f" {'; '.join(faults)}; evaluate with what the table has"
            )

    def known(self, chosen: ChosenSet) -> ChosenSet:
        """The images of a set that the table has: those that came after it were never the original's."""
        places = np.flatnonzero(chosen.rows["hmac_id"].isin(self.rows["code"]).to_numpy())
        if len(places) == len(chosen.rows):
            return chosen
        return ChosenSet(
            rows=chosen.rows.iloc[places].reset_index(drop=True),
            num_images=chosen.num_images,
            copies=frozenset(new for new, old in enumerate(places.tolist()) if old in chosen.copies),
        )

    def answers(self, chosen: ChosenSet, operator: str) -> ImageFacts:
        """What the original made of the images of a set, all of which the table has."""
        rows = self.rows[self.rows["operator"] == operator].set_index("code").loc[chosen.rows["hmac_id"]]
        columns = {name: rows[column].to_numpy(dtype=np.float32) for column, name in _COLUMNS.items()}
        not_kept = np.full(len(rows), np.nan, dtype=np.float32)
        return ImageFacts(reference_errors={}, feature_cosine_N=not_kept, **columns)


def make_table(
    images: str, manifest: SplitManifest, model: Any, model_sha256: str, config: EvaluateConfig, device: torch.device
) -> OriginalTable:
    """Let `model` complete every image of the split under every operator of `config`."""
    rows = manifest.rows[["shard", "row", "hmac_id"]]
    chosen = ChosenSet(rows=rows, num_images=len(rows))
    operators = operators_of(config)
    with progress("table of the original", len(rows) * len(operators)) as advance:
        parts = [_rows(images, chosen, model, operator, config, device, advance) for operator in operators]
    facts = TableFacts(
        model_sha256=model_sha256,
        key_code=manifest.key_code,
        seed=config.seed,
        operator_patch_size=config.operator_patch_size,
        image_digest=manifest.image_digest,
    )
    return OriginalTable(facts, pd.concat(parts, ignore_index=True))


def _rows(
    images: str,
    chosen: ChosenSet,
    model: Any,
    operator: Operator,
    config: EvaluateConfig,
    device: torch.device,
    advance: Advance,
) -> pd.DataFrame:
    observer = SetObserver(
        {"original": model},
        NoFeatures(),
        set_name="table",
        num_images=len(chosen.rows),
        seed=config.seed,
        device=device,
    )
    for images_BCHW, visible_BHW in batches(model, operator, images, chosen, config):
        advance(len(observer.see(images_BCHW, visible_BHW)))
    facts = observer.observations()["original"].facts()
    numbers = {column: getattr(facts, name).astype(np.float32) for column, name in _COLUMNS.items()}
    return pd.DataFrame({"code": chosen.rows["hmac_id"].to_numpy(), "operator": operator.label, **numbers})


def write_table(table: OriginalTable, path: str | Path) -> None:
    """Write it whole or not at all; equal tables give equal bytes. No statistics: they would show single values."""
    facts = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(table.facts)}, sort_keys=True)
    rows = pa.Table.from_pandas(table.rows[_SCHEMA.names], schema=_SCHEMA, preserve_index=False)
    with atomic_file(path) as aside:
        pq.write_table(
            rows.replace_schema_metadata({_METADATA_KEY: facts.encode()}),
            aside,
            compression="zstd",
            use_dictionary=["operator"],
            write_statistics=False,
        )


def read_table(path: str | Path) -> OriginalTable:
    """Read a table; `read(write(t))` is `t`.

    Raises:
        UserError: it is missing, damaged, or of another schema version.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no table of the original's answers; run `i2i-unlearn snapshot` again")
    with damage_told(f"{path}: the table of the original's answers is damaged", "run `i2i-unlearn snapshot` again"):
        found = pq.read_table(io.BytesIO(path.read_bytes()))
        found.validate(full=True)
    try:
        facts = json.loads((found.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
        version = facts.pop("schema_version", None)
        table = OriginalTable(TableFacts(**facts), found.select(_SCHEMA.names).to_pandas())
    except (ValueError, TypeError, KeyError):  # not JSON; other facts; other columns
        version = None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: not a table of an original's answers that this program reads ({SCHEMA_VERSION})")
    return table
