"""Images and requests of one test, and what the stage `split` makes of them."""

import csv

import pandas as pd

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import write_shards
from i2i_unlearn.data.request import make_request, write_request
from i2i_unlearn.data.split.codes import create_key
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.stages import split

SETTINGS = {
    "seed": 0,
    "holdout_fraction": 0.3,
    "erased": [],
    "proxy_labels": [],
    "proxy_fraction": 0.0,
    "unseen_target_fraction": 0.0,
    "retain_cap_per_class": 0,
}


class SplitWorld:
    """`settings` are the section `split` where it differs from `SETTINGS`."""

    def __init__(self, root, **settings):
        self.root, self.settings = root, {**SETTINGS, **settings}
        self.key = str(create_key(str(root / "key")))

    def images(self, *records, name="s"):
        write_shards(records, self.root / "images", name)

    def request(self, id_, near_duplicates="keep", **selector):
        """Write the request, again if it exists."""
        given = {"received": "2026-01-10", "due": "2026-02-10", "basis": "asked", "near_duplicates": near_duplicates}
        path = self.root / f"forget/{id_}.yaml"
        path.unlink(missing_ok=True)
        write_request(make_request(id=id_, selector=selector, **given), path)

    def split(self, **changes):
        """Roles by sample id."""
        images, out = str(self.root / "images"), self.root / "splits"
        config = SplitConfig(**{**self.settings, **changes})
        self.facts = split.run(images, str(self.root / "forget"), out, config, hmac_key_file=self.key)
        self.manifest = read_manifest(out / "manifest.parquet", images)
        with (out / "near_duplicates.csv").open() as file:
            self.listed = list(csv.DictReader(file))
        with (out / "earlier_requests.csv").open() as file:
            self.earlier = list(csv.DictReader(file))
        return pd.Series(self.manifest.rows["role"].to_numpy(), index=read_index(images)["sample_id"])
