"""Which image plays which role: the rules of the split, without files.

    selected by            trained on (part train)            held out (part holdout)
    a promoted request     erased                             erased
    an active request      forget                             forget_holdout
    none                   retain | proxy_retain | unused     retain_holdout | unseen_target
    none, but a near-copy  by the request's word: as above, or dropped (data/copies.py)

`unused` and `dropped` are not the same: what a cap left unused the reference is trained on, as the original was.

Every choice is a function of the image's bytes and the seed, so adding images moves no other one (a cap moves at most
one a class).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.images.holdout import TRAIN, draws, training_part
from i2i_unlearn.data.request import ForgetRequest, select
from i2i_unlearn.data.split import manifest as roles
from i2i_unlearn.data.split.near_copies import DROPPED, INCLUDED, KEPT, PAIR, FindPairs, Selection, settle
from i2i_unlearn.support.errors import UserError

Strings = NDArray[np.object_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Roles:
    """One entry per image, in the order of the index."""

    part: Strings
    role: Strings
    copies: pd.DataFrame
    """Near-copies: see `data.copies.Settled.pairs`, with request by id, its word, and what was done."""


def assign_roles(
    index: pd.DataFrame,
    active: Sequence[ForgetRequest],
    erased: Sequence[ForgetRequest],
    config: SplitConfig,
    find: FindPairs | None = None,
) -> Roles:
    """Part and role of every image of `index`; `active` and `erased` are the requests that `config` names.

    Args:
        index: as `read_index` gives it.
        active: requests to be fulfilled.
        erased: requests that were.
        config: section `split`.
        find: the search for near-copies; None = equal bytes alone.

    Raises:
        UserError: an active request selects no training image, together they leave none, copies of the same image are
            treated differently, or a request has a word for near-copies that are not looked for.
    """
    _check_words([*active, *erased], config)
    part = training_part(index, holdout_fraction=config.holdout_fraction, seed=config.seed)
    gone = [Selection(request, select(request, index, strict=False), True) for request in erased]
    is_erased = np.zeros(len(index), dtype=bool)
    for selection in gone:
        is_erased |= selection.selected
    asked = [Selection(request, select(request, index), False) for request in active]
    is_forgotten = _forgotten(asked, part, is_erased)
    copies = settle(index, part, [*asked, *gone], find or _no_pairs)
    is_erased = is_erased | copies.erase
    is_forgotten = (is_forgotten | copies.forget) & ~copies.drop
    _check_copies(index, is_forgotten, is_erased, copies.drop)
    _check_left(asked, (part == TRAIN) & ~is_erased & ~copies.drop, is_forgotten)
    role = _roles(index, part, is_forgotten, is_erased, copies.drop, config)
    return Roles(part, role, _told(copies.pairs, role, [*asked, *gone]))


def _check_words(requests: Sequence[ForgetRequest], config: SplitConfig) -> None:
    if config.near_duplicates.search:
        return
    for request in requests:
        if request.near_duplicates != "keep":
            raise UserError(
                f"forget request {request.id!r} says near_duplicates: {request.near_duplicates}, but"
                " split.near_duplicates.search is false; set it to true"
            )


def _no_pairs(_anchors: Flags, _others: Flags) -> pd.DataFrame:
    return pd.DataFrame({column: [] for column in PAIR})


def _forgotten(asked: Sequence[Selection], part: Strings, is_erased: Flags) -> Flags:
    """Images that an active request selects and no earlier one has erased."""
    total = np.zeros(len(part), dtype=bool)
    usable = (part == TRAIN) & ~is_erased
    for selection in asked:
        if not (selection.selected & usable).any():
            raise UserError(
                f"forget request {selection.request.id!r} selects {int(selection.selected.sum())} images, but none that"
                " was trained on and is not erased already; there is nothing to forget: correct its selector or take it"
                " out of split.requests"
            )
        total |= selection.selected & ~is_erased
    _check_left(asked, usable, total)
    return total


def _check_left(asked: Sequence[Selection], usable: Flags, is_forgotten: Flags) -> None:
    if is_forgotten[usable].all():
        raise UserError(
            f"the forget requests {', '.join(one.request.id for one in asked)} select every training image that is"
            f" left ({int(usable.sum())}); nothing would be retained: narrow the selectors"
        )


def _check_copies(index: pd.DataFrame, is_forgotten: Flags, is_erased: Flags, is_dropped: Flags) -> None:
    """The same bytes under two ids must be selected alike: training on a copy of a forgotten image undoes it.

    A copy that is dropped is not trained on.
    """
    index = index[~is_dropped]
    treatment = pd.Series(np.where(is_erased, 2, np.where(is_forgotten, 1, 0))[~is_dropped], index=index.index)
    differs = treatment.groupby(index["sha256"]).transform("nunique") > 1
    if not differs.any():
        return
    copies = index[index["sha256"] == index.loc[differs, "sha256"].iloc[0]]
    one = copies.iloc[0]
    other = copies[treatment[copies.index] != treatment[one.name]].iloc[0]
    # Rows, not ids: this message also appears in the logs of a cluster.
    raise UserError(
        f"{one['shard']} row {one['row']} and {other['shard']} row {other['row']} hold the same image, but the forget"
        f" requests treat them differently ({int(differs.sum())} images are concerned); select all copies,"
        " say `near_duplicates: include` (or drop) in the request, or remove them from the images"
    )


def _roles(
    index: pd.DataFrame, part: Strings, is_forgotten: Flags, is_erased: Flags, is_dropped: Flags, config: SplitConfig
) -> Strings:
    is_train = part == TRAIN
    is_target = draws(index, "unseen_target", config.seed) < config.unseen_target_fraction
    role = np.where(
        is_train,
        np.where(_is_proxy(index, config), roles.PROXY_RETAIN, roles.RETAIN),
        np.where(is_target, roles.UNSEEN_TARGET, roles.RETAIN_HOLDOUT),
    ).astype(object)
    role[is_forgotten] = np.where(is_train, roles.FORGET, roles.FORGET_HOLDOUT)[is_forgotten]
    role[is_erased] = roles.ERASED
    role[is_dropped] = roles.DROPPED
    if config.retain_cap_per_class:
        role[_beyond_cap(index, role == roles.RETAIN, config)] = roles.UNUSED
    return role


def _told(pairs: pd.DataFrame, role: Strings, selections: Sequence[Selection]) -> pd.DataFrame:
    """The pairs with the request's id, its word and what was done."""
    requests = [selections[number].request for number in pairs["request"]]
    done = {
        roles.DROPPED: DROPPED,
        **dict.fromkeys((roles.FORGET, roles.FORGET_HOLDOUT, roles.ERASED), INCLUDED),
    }
    return pairs.assign(
        request=[request.id for request in requests],
        word=[request.near_duplicates for request in requests],
        done=[done.get(str(role[copy]), KEPT) for copy in pairs["copy"]],
    )


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
