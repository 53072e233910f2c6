"""Stage `split`: give every image its role.

    selected by            trained on (part train)            held out (part holdout)
    a promoted request     erased                             erased
    an active request      forget                             forget_holdout
    none                   retain | proxy_retain | unused     retain_holdout | unseen_target

Every choice is a function of the image's bytes and the seed, so adding images moves no other one (a cap moves at most
one a class).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.config import SplitConfig
from i2i_unlearn.data import manifest as roles
from i2i_unlearn.data.identity import hmac_id, load_key
from i2i_unlearn.data.images import read_index
from i2i_unlearn.data.manifest import SplitManifest, digest_images, fingerprints, write_manifest
from i2i_unlearn.data.parts import TRAIN, draws, training_part
from i2i_unlearn.data.requests import ForgetRequest, read_request, select
from i2i_unlearn.errors import UserError
from i2i_unlearn.files import atomic_folder, digest_file, write_json

Strings = NDArray[np.object_]
Flags = NDArray[np.bool_]


def run(
    images: str, requests: str, out: str | Path, config: SplitConfig, *, hmac_key_file: str | None = None
) -> dict[str, float | str]:
    """Resolve the requests to roles; write manifest.parquet and summary.json under `out`; return the summary.

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
    index = read_index(images)
    active, erased = _read_both(Path(requests), config)
    part = training_part(index, holdout_fraction=config.holdout_fraction, seed=config.seed)
    is_erased = _any_of((select(request, index, strict=False) for request in erased), len(index))
    is_forgotten = _forgotten(active, index, part, is_erased)
    _check_copies(index, is_forgotten, is_erased)
    role = _roles(index, part, is_forgotten, is_erased, config)
    shard_fingerprints = fingerprints(index)
    manifest = SplitManifest(
        rows=index[["shard", "row"]].assign(
            part=part, role=role, hmac_id=[hmac_id(key, sample_id) for sample_id in index["sample_id"]]
        ),
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


def _read_both(folder: Path, config: SplitConfig) -> tuple[list[ForgetRequest], list[ForgetRequest]]:
    if not config.requests:
        raise UserError(
            "split.requests is empty, there is nothing to forget; file a request with `i2i-unlearn request add`"
        )
    both = sorted(set(config.requests) & set(config.erased))
    if both:
        raise UserError(f"split.requests and split.erased both name {', '.join(both)}; keep each id in one of them")
    active, erased = (
        [read_request(folder / f"{id_}.yaml") for id_ in sorted(ids)] for ids in (config.requests, config.erased)
    )
    return active, erased


def _any_of(selections: Iterable[Flags], num_images: int) -> Flags:
    total = np.zeros(num_images, dtype=bool)
    for selected in selections:
        total |= selected
    return total


def _forgotten(active: list[ForgetRequest], index: pd.DataFrame, part: Strings, is_erased: Flags) -> Flags:
    """Images that an active request selects and no earlier one has erased."""
    total = np.zeros(len(index), dtype=bool)
    usable = (part == TRAIN) & ~is_erased
    for request in active:
        selected = select(request, index)
        if not (selected & usable).any():
            raise UserError(
                f"forget request {request.id!r} selects {int(selected.sum())} images, but none that was trained on and"
                " is not erased already; take it out of split.requests"
            )
        total |= selected & ~is_erased
    if (total[usable]).all():
        raise UserError(
            f"the forget requests {', '.join(request.id for request in active)} select every training image that is"
            f" left ({int(usable.sum())}); nothing would be retained: narrow the selectors"
        )
    return total


def _check_copies(index: pd.DataFrame, is_forgotten: Flags, is_erased: Flags) -> None:
    """The same bytes under two ids must be selected alike: training on a copy of a forgotten image undoes it."""
    treatment = pd.Series(np.where(is_erased, 2, np.where(is_forgotten, 1, 0)), index=index.index)
    differs = treatment.groupby(index["sha256"]).transform("nunique") > 1
    if not differs.any():
        return
    one = index[index["sha256"] == index.loc[differs, "sha256"].iloc[0]]
    chosen = one[treatment[one.index] > 0].iloc[0]
    other = one[treatment[one.index] != treatment[chosen.name]].iloc[0]
    raise UserError(
        f"{chosen['shard']} row {chosen['row']} and {other['shard']} row {other['row']} hold the same image, but the"
        f" forget requests select them differently ({int(differs.sum())} images are concerned); select all copies in"
        " one request or remove them from the images"
    )


def _roles(index: pd.DataFrame, part: Strings, is_forgotten: Flags, is_erased: Flags, config: SplitConfig) -> Strings:
    is_train = part == TRAIN
    is_proxy = _proxy(index, config)
    is_target = draws(index, "unseen_target", config.seed) < config.unseen_target_fraction
    role = np.where(
        is_train,
        np.where(is_proxy, roles.PROXY_RETAIN, roles.RETAIN),
        np.where(is_target, roles.UNSEEN_TARGET, roles.RETAIN_HOLDOUT),
    ).astype(object)
    role[is_forgotten] = np.where(is_train, roles.FORGET, roles.FORGET_HOLDOUT)[is_forgotten]
    role[is_erased] = roles.ERASED
    if config.retain_cap_per_class:
        role[_beyond_cap(index, role == roles.RETAIN, config)] = roles.UNUSED
    return role


def _proxy(index: pd.DataFrame, config: SplitConfig) -> Flags:
    labels = set(index["label"])
    unknown = sorted(set(config.proxy_labels) - labels)
    if unknown:
        raise UserError(
            f"split.proxy_labels: {unknown[0]!r} matches no image; labels found: {', '.join(sorted(labels)[:20])}"
        )
    by_label = index["label"].isin(config.proxy_labels).to_numpy(dtype=bool)
    drawn: Flags = draws(index, "proxy", config.seed) < config.proxy_fraction
    return by_label | drawn


def _beyond_cap(index: pd.DataFrame, is_retain: Flags, config: SplitConfig) -> Flags:
    """Retain images beyond the cap of their class, in the order of a draw: a new image displaces at most one."""
    order = pd.Series(draws(index, "cap", config.seed))[is_retain]
    rank = order.groupby(index.loc[is_retain, "label"]).rank(method="first")
    beyond = np.zeros(len(index), dtype=bool)
    beyond[np.flatnonzero(is_retain)] = rank.to_numpy() > config.retain_cap_per_class
    return beyond


def _facts(manifest: SplitManifest, active: list[ForgetRequest], manifest_sha256: str) -> dict[str, float | str]:
    counts = manifest.rows["role"].value_counts()
    return {
        "num_images": len(manifest.rows),
        **{f"num_{role}": int(counts.get(role, 0)) for role in roles.ROLES},
        "requests": ",".join(manifest.requests),
        "erased": ",".join(manifest.erased),
        "due": min(request.due for request in active).isoformat(),
        "image_digest": manifest.image_digest,
        "manifest_sha256": manifest_sha256,
    }
