"""Which image gets which role: the rules of the split, without files.

    selected by            trained on (part train)            held out (part holdout)
    a promoted request     erased                             erased
    none, but its bytes were forgotten before, whatever its name (data/forgotten.py)     erased
    an active request      forget                             forget_holdout
    none                   retain | proxy_retain | unused     retain_holdout | unseen_target (never a canary)
    none, but a near-copy  as its request says: as above, or dropped (near_copy_rules.py)

`unused` is not `dropped`: the reference is trained on what a cap left unused, as the original was.

Every choice is a function of the image's bytes and the seed, so adding images moves no other image (a cap moves at most
one per class).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2i_unlearn.config.sections import SplitConfig
from i2i_unlearn.data.images.canaries import Canaries, choose_canaries, part_with_canaries
from i2i_unlearn.data.images.holdout import TRAIN, draws
from i2i_unlearn.data.images.layout import composed
from i2i_unlearn.data.request import ForgetRequest, named, select
from i2i_unlearn.data.split import manifest as roles
from i2i_unlearn.data.split.near_copy_rules import DROPPED, INCLUDED, KEPT, PAIR, FindPairs, Selection, any_of, settle
from i2i_unlearn.support.errors import UserError

Strings = NDArray[np.object_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Roles:
    """One entry per image, in the order of the index."""

    part: Strings
    role: Strings
    copies: pd.DataFrame
    """Near-copies: `near_copy_rules.Settled.pairs`, with the request's id, its `near_duplicates`, and what was done."""
    earlier: Mapping[str, Flags]
    """By promoted request: its images that are still there, included near-copies too."""
    canaries: Canaries
    came_back: Flags
    """Erased since their bytes were forgotten before; no request names or includes them."""


def assign_roles(
    index: pd.DataFrame,
    active: Sequence[ForgetRequest],
    erased: Sequence[ForgetRequest],
    config: SplitConfig,
    find: FindPairs | None = None,
    forgotten: Sequence[frozenset[str]] = (),
) -> Roles:
    """Part and role of every image of `index` (`read_index`); `active` and `erased` are the requests in `config`.

    `find` is the search for near-copies; None = equal bytes alone. `forgotten`, if given, has for each image the
    requests that an image of the same bytes was forgotten for (`Forgotten.look_up`).

    Raises:
        UserError: an active request selects no training image, together they leave none, copies of the same image are
            treated differently, or a request decides over near-copies while the search is off.
    """
    _check_search([*active, *erased], config)
    fraction, seed = config.holdout_fraction, config.seed
    canaries = choose_canaries(index, num=config.canaries, holdout_fraction=fraction, seed=seed)
    part = part_with_canaries(index, canaries=config.canaries, holdout_fraction=fraction, seed=seed)
    gone = [Selection(request, select(request, index, strict=False), True) for request in erased]
    is_erased = any_of(gone, len(index))
    asked = [Selection(request, select(request, index), False) for request in active]
    known = _forgotten_before(forgotten, asked, len(index))
    is_forgotten = _forgotten(asked, part, is_erased | known)
    copies = settle(index, part, [*asked, *gone], find or _no_pairs)
    known &= ~(copies.forget & _listed_for(forgotten, {one.request.id for one in asked}, len(index)))
    is_erased = is_erased | known | copies.erase
    is_forgotten = (is_forgotten | copies.forget) & ~copies.drop
    _check_copies(index, is_forgotten, is_erased, copies.drop)
    _check_left(asked, (part == TRAIN) & ~is_erased & ~copies.drop, is_forgotten)
    role = _roles(index, part, is_forgotten, is_erased, copies.drop, config, canaries.chosen)
    listed = _listed(copies.pairs, role, [*asked, *gone])
    earlier = {one.request.id: _still_there(one, listed, role) for one in gone}
    came_back = known & ~any_of([*asked, *gone], len(index)) & ~copies.erase & ~copies.drop
    return Roles(part, role, listed, earlier, canaries, came_back)


def _forgotten_before(forgotten: Sequence[frozenset[str]], asked: Sequence[Selection], num_images: int) -> Flags:
    """Images whose bytes were forgotten before; not those that the same request, still active, selects again."""
    if not any(forgotten):
        return np.zeros(num_images, dtype=bool)
    known = np.array([bool(ids) for ids in forgotten])
    for one in asked:
        known &= ~(one.selected & _listed_for(forgotten, {one.request.id}, num_images))
    return known


def _listed_for(forgotten: Sequence[frozenset[str]], requests: set[str], num_images: int) -> Flags:
    """Images whose bytes were forgotten for any of these requests."""
    if not any(forgotten):
        return np.zeros(num_images, dtype=bool)
    return np.array([not requests.isdisjoint(ids) for ids in forgotten])


def _check_search(requests: Sequence[ForgetRequest], config: SplitConfig) -> None:
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
    usable = (part == TRAIN) & ~is_erased
    for selection in asked:
        if not (selection.selected & usable).any():
            num, before = int(selection.selected.sum()), int((selection.selected & is_erased).sum())
            if num == before:
                raise UserError(
                    f"forget request {selection.request.id!r}: its {num} images are forgotten already (an earlier "
                    "request was carried out for them); there is nothing to do"
                )
            raise UserError(
                f"forget request {selection.request.id!r} selects {num} images, but none that was trained on and is"
                f" not erased already ({before} are), so there is nothing to forget; correct its selector or"
                " remove it from split.requests"
            )
    total = any_of(asked, len(part)) & ~is_erased
    _check_left(asked, usable, total)
    return total


def _check_left(asked: Sequence[Selection], usable: Flags, is_forgotten: Flags) -> None:
    if is_forgotten[usable].all():
        raise UserError(
            f"the forget requests {', '.join(one.request.id for one in asked)} select every training image that is"
            f" left ({int(usable.sum())}), so nothing would be retained; narrow the selectors"
        )


def _check_copies(index: pd.DataFrame, is_forgotten: Flags, is_erased: Flags, is_dropped: Flags) -> None:
    """The same bytes under two ids must be treated alike, unless dropped: training on a copy undoes the forgetting."""
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
        f" requests treat them differently ({int(differs.sum())} images are affected); select all copies,"
        " say `near_duplicates: include` (or drop) in the request, or remove them from the images"
    )


def _roles(
    index: pd.DataFrame,
    part: Strings,
    is_forgotten: Flags,
    is_erased: Flags,
    is_dropped: Flags,
    config: SplitConfig,
    is_canary: Flags,
) -> Strings:
    is_train = part == TRAIN
    is_target = (draws(index, "unseen_target", config.seed) < config.unseen_target_fraction) & ~is_canary
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


def _listed(pairs: pd.DataFrame, role: Strings, selections: Sequence[Selection]) -> pd.DataFrame:
    """The pairs with the request's id, its `near_duplicates` and what was done."""
    requests = [selections[number].request for number in pairs["request"]]
    done = dict.fromkeys((roles.FORGET, roles.FORGET_HOLDOUT, roles.ERASED), INCLUDED) | {roles.DROPPED: DROPPED}
    return pairs.assign(
        request=[request.id for request in requests],
        word=[request.near_duplicates for request in requests],
        done=[done.get(str(role[copy]), KEPT) for copy in pairs["copy"]],
    )


def _still_there(promoted: Selection, copies: pd.DataFrame, role: Strings) -> Flags:
    own = promoted.selected.copy()
    included = (copies["request"] == promoted.request.id) & (copies["word"] == "include")
    own[copies.loc[included, "copy"].to_numpy(dtype=int)] = True
    found: Flags = own & (role == roles.ERASED)
    return found


def _is_proxy(index: pd.DataFrame, config: SplitConfig) -> Flags:
    """By label or by draw; a copy of a proxy image is a proxy image, whatever its label."""
    held = named(index, "label")
    labels = set(held)
    proxies = set(map(composed, config.proxy_labels))
    unknown = sorted(proxies - labels)
    if unknown:
        raise UserError(
            f"split.proxy_labels: {unknown[0]!r} matches no image; labels found: {', '.join(sorted(labels)[:20])}"
        )
    by_label = index.index.isin(index.index[held.index[held.isin(proxies)]])
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
