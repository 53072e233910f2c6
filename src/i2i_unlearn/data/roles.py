"""Which image plays which role: the rules of the split, without files.

    selected by            trained on (part train)            held out (part holdout)
    a promoted request     erased                             erased
    an active request      forget                             forget_holdout
    none                   retain | proxy_retain | unused     retain_holdout | unseen_target

Every choice is a function of the image's bytes and the seed, so adding images moves no other one (a cap moves at most
one a class).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.config import SplitConfig
from i2i_unlearn.data import manifest as roles
from i2i_unlearn.data.parts import TRAIN, draws, training_part
from i2i_unlearn.data.requests import ForgetRequest, select
from i2i_unlearn.errors import UserError

Strings = NDArray[np.object_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Roles:
    """One entry per image, in the order of the index."""

    part: Strings
    role: Strings


def assign_roles(
    index: pd.DataFrame, active: Sequence[ForgetRequest], erased: Sequence[ForgetRequest], config: SplitConfig
) -> Roles:
    """Part and role of every image of `index`; `active` and `erased` are the requests that `config` names.

    Raises:
        UserError: an active request selects no training image, together they leave none, or copies of the same image
            are treated differently.
    """
    part = training_part(index, holdout_fraction=config.holdout_fraction, seed=config.seed)
    is_erased = np.zeros(len(index), dtype=bool)
    for request in erased:
        is_erased |= select(request, index, strict=False)
    is_forgotten = _forgotten(active, index, part, is_erased)
    _check_copies(index, is_forgotten, is_erased)
    return Roles(part, _roles(index, part, is_forgotten, is_erased, config))


def _forgotten(active: Sequence[ForgetRequest], index: pd.DataFrame, part: Strings, is_erased: Flags) -> Flags:
    """Images that an active request selects and no earlier one has erased."""
    total = np.zeros(len(index), dtype=bool)
    usable = (part == TRAIN) & ~is_erased
    for request in active:
        selected = select(request, index)
        if not (selected & usable).any():
            raise UserError(
                f"forget request {request.id!r} selects {int(selected.sum())} images, but none that was trained on and"
                " is not erased already; there is nothing to forget: correct its selector or take it out of"
                " split.requests"
            )
        total |= selected & ~is_erased
    if total[usable].all():
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
    copies = index[index["sha256"] == index.loc[differs, "sha256"].iloc[0]]
    one = copies.iloc[0]
    other = copies[treatment[copies.index] != treatment[one.name]].iloc[0]
    # Rows, not ids: this message also appears in the logs of a cluster.
    raise UserError(
        f"{one['shard']} row {one['row']} and {other['shard']} row {other['row']} hold the same image, but the forget"
        f" requests treat them differently ({int(differs.sum())} images are concerned); select all copies or"
        " remove them from the images"
    )


def _roles(index: pd.DataFrame, part: Strings, is_forgotten: Flags, is_erased: Flags, config: SplitConfig) -> Strings:
    is_train = part == TRAIN
    is_target = draws(index, "unseen_target", config.seed) < config.unseen_target_fraction
    role = np.where(
        is_train,
        np.where(_is_proxy(index, config), roles.PROXY_RETAIN, roles.RETAIN),
        np.where(is_target, roles.UNSEEN_TARGET, roles.RETAIN_HOLDOUT),
    ).astype(object)
    role[is_forgotten] = np.where(is_train, roles.FORGET, roles.FORGET_HOLDOUT)[is_forgotten]
    role[is_erased] = roles.ERASED
    if config.retain_cap_per_class:
        role[_beyond_cap(index, role == roles.RETAIN, config)] = roles.UNUSED
    return role


def _is_proxy(index: pd.DataFrame, config: SplitConfig) -> Flags:
    """By label or by draw; a copy of a proxy image is a proxy image, whatever its own label."""
    labels = set(index["label"])
    unknown = sorted(set(config.proxy_labels) - labels)
    if unknown:
        raise UserError(
            f"split.proxy_labels: {unknown[0]!r} matches no image; labels found: {', '.join(sorted(labels)[:20])}"
        )
    by_label = index["label"].isin(config.proxy_labels)
    with_copies = index["sha256"].isin(index.loc[by_label, "sha256"]).to_numpy(dtype=bool)
    drawn: Flags = draws(index, "proxy", config.seed) < config.proxy_fraction
    return with_copies | drawn


def _beyond_cap(index: pd.DataFrame, is_retain: Flags, config: SplitConfig) -> Flags:
    """Retain images beyond the cap of their class, in the order of a draw: a new image displaces at most one."""
    order = pd.Series(draws(index, "cap", config.seed))[is_retain]
    rank = order.groupby(index["label"].reset_index(drop=True)[is_retain]).rank(method="first")
    beyond = np.zeros(len(index), dtype=bool)
    beyond[np.flatnonzero(is_retain)] = rank.to_numpy() > config.retain_cap_per_class
    return beyond
