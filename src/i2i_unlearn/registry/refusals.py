"""Every reason to refuse a promotion, a rollback or a copy. To change what is refused, or what is said, edit this file.

    promotion
        gate       it passed; or it was undecided and a named person accepts that, with a reason, which the promotion
                   record, a tag of the version and evidence keep
        lineage    the version was unlearned from the present champion and has forgotten everything that one has
        at hand    folders that the caller names hold what was registered
        bytes      weights, the package that runs them and the evaluation in MLflow are those that were judged
        persons    if the policy says two_person, another person registered it
        overtaken  nobody else moved the alias in the meantime
    rollback
        was        the version has been champion before, according to the promotion record
        forgotten  it has forgotten everything the present champion has, else it would know the erased data again; a
                   named person may force this, and the record and a tag of the version keep the reason
        bytes      as above
        overtaken  as above
    restore
        bytes      as above
    copy
        bytes      as above, in the registry it comes from

All reasons are given, not only the first one. The callers raise `GateRefused` with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2i_unlearn.evaluation.evaluated_model import digest_evaluation
from i2i_unlearn.registry import history, integrity, project_registry, tracking
from i2i_unlearn.registry.actor import Actor, named_in, same_person
from i2i_unlearn.support import files


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the person who promotes says."""

    actor: Actor
    accept_undecided: bool = False
    unlearned: str | Path | None = None
    """Output folder of `unlearn` that must be what was registered."""
    evaluation: str | Path | None = None
    """The same of `evaluate`."""


def of_promotion(
    server: tracking.Server, chosen: tracking.Version, champion: tracking.Version | None, asked: Asked, lost: str = ""
) -> list[str]:
    """Why `chosen` may not replace `champion`; always something if there is no champion.

    `lost`: number of the version that should have the alias, where no version has it.
    """
    changed = list(_changed(server, chosen, "; delete the version in MLflow and register it again"))
    return [
        *_gate(chosen, asked.accept_undecided),
        *_lineage(chosen, champion, lost),
        *changed,
        *(() if changed else _two_persons(server, chosen, asked.actor)),  # the evaluation says whether the rule holds
        *_at_hand(chosen, asked),
    ]


def of_rollback(
    server: tracking.Server,
    records: Sequence[history.Record],
    chosen: tracking.Version,
    knows_again: Sequence[str],
    *,
    force: bool,
) -> list[str]:
    """Why `chosen`, which knows the requests `knows_again`, may not be champion again."""
    return [
        *_was_champion(records, chosen),
        *_forgotten(chosen, () if force else knows_again),
        *_changed(server, chosen, "; it can no longer be used"),
    ]


def of_restore(server: tracking.Server, chosen: tracking.Version) -> list[str]:
    """Why `chosen`, which is champion according to the ledger, may not get its alias back."""
    return list(_changed(server, chosen, "; it can no longer be used"))


def of_copy(server: tracking.Server, chosen: tracking.Version) -> list[str]:
    """Why `chosen` may not be copied from the registry it is in."""
    return list(_changed(server, chosen, "", where=" at the origin"))


def no_candidate(newest: tracking.Version) -> str:
    """Why no version can be promoted unless its number is given."""
    gate = newest.tags.get("gate")
    why = (
        f"no unlearned model is registered, version {newest.number} is the {newest.tags.get('kind', 'newest')}"
        if gate is None
        else f"the newest version {newest.number} has gate {gate} (policy {newest.tags.get('gate_policy')})"
    )
    return f"{newest.model_name} has no candidate: {why}; register an unlearned model that passes, or name a version"


def no_candidate_to_copy(model_name: str) -> str:
    """The same in the registry a version should come from."""
    return f"{model_name} has no candidate at the origin; name a version with --version N"


def overtaken_before(chosen: tracking.Version, winner: str, seen: str, last: history.Move | None) -> str:
    """Version `winner` became champion between the check, which saw version `seen`, and the move.

    `last`: what the promotion record says of the present champion.
    """
    how = last.in_words() if last and last.version == winner else "which the promotion record does not know"
    was = f"the champion was version {seen} when the check began"
    return _lost(chosen, winner, f"{how}; {was}; unlearn from the present champion")


def overtaken_after(chosen: tracking.Version, winner: str) -> str:
    """Version `winner` became champion right after the move."""
    return _lost(chosen, winner, "moved at the same moment, with another record or by hand")


def _lost(chosen: tracking.Version, winner: str, how: str) -> str:
    whom = f"version {winner}" if winner else "somebody who removed the alias"
    return f"version {chosen.number} lost to {whom}: {how}"


def _gate(chosen: tracking.Version, accept_undecided: bool) -> Iterator[str]:
    found, policy = chosen.tags.get("gate"), chosen.tags.get("gate_policy")
    if found is None or "evaluation_run_id" not in chosen.tags:
        yield (
            f"version {chosen.number} was not evaluated (it is {chosen.tags.get('kind', 'of unknown kind')}); evaluate "
            "an unlearned model and register it with `i2i-unlearn register`"
        )
    elif found == "undecided" and not accept_undecided:
        yield (
            f"version {chosen.number}: the gate is undecided (policy {policy}); a person may accept that with "
            "--accept-undecided REASON --by NAME, which is recorded"
        )
    elif found not in ("pass", "undecided"):
        yield (
            f"version {chosen.number}: the gate did not pass (policy {policy}: {found}); unlearn with other settings"
        )


def no_champion(model_name: str, lost: str) -> str:
    """Version `lost` should have the alias champion, and no version has it."""
    return (
        f"{model_name} has no champion, although version {lost} was promoted: somebody removed the alias; "
        f"{project_registry.RESTORE}"
    )


def _lineage(chosen: tracking.Version, champion: tracking.Version | None, lost: str) -> Iterator[str]:
    if champion is None and lost:
        yield no_champion(chosen.model_name, lost)
        return
    if champion is None:
        yield (
            f"{chosen.model_name} has no champion; register the original with `i2i-unlearn register --original`, or "
            "copy it from another registry"
        )
        return
    if chosen.tags.get("teacher_sha256", "") != champion.tags.get("model_sha256"):
        yield (
            f"version {chosen.number} was unlearned from version {chosen.tags.get('teacher_version', 'unknown')}, but "
            f"the champion is version {champion.number}; unlearn from models:/{champion.model_name}/{champion.number}"
        )
    back = sorted(set(champion.requests()) - set(chosen.requests()))
    if back:
        yield (
            f"version {chosen.number} does not list {', '.join(back)} as forgotten, but the champion (version "
            f"{champion.number}) has forgotten them; add them to split.erased and unlearn again"
        )


def _at_hand(chosen: tracking.Version, asked: Asked) -> Iterator[str]:
    given: list[tuple[str | Path, str, str | None]] = []
    if asked.unlearned:
        weights = files.digest_folder(Path(asked.unlearned) / "model")
        given.append((asked.unlearned, weights, chosen.tags.get("model_sha256")))
    if asked.evaluation:
        digest = digest_evaluation(Path(asked.evaluation))
        given.append((asked.evaluation, digest, chosen.tags.get("evaluation_sha256")))
    for folder, found, registered in given:
        if found != registered:
            yield (
                f"{folder}: differs from what version {chosen.number} was registered with (found "
                f"{integrity.short(found)}, registered {integrity.short(registered)}); register it, or name its version"
            )


def _changed(server: tracking.Server, chosen: tracking.Version, remedy: str, where: str = "") -> Iterator[str]:
    yield from (f"version {chosen.number}{where}: {what}{remedy}" for what in integrity.differences(server, chosen))


def _two_persons(server: tracking.Server, chosen: tracking.Version, actor: Actor) -> Iterator[str]:
    if integrity.verdict(server, chosen).get("two_person") is not True:
        return
    registrars = named_in(chosen.tags.get("registered_by", ""))
    accounts = named_in(chosen.tags.get("registered_account", ""))
    rule = f"version {chosen.number}: policy {chosen.tags.get('gate_policy')} requires two persons"
    if not registrars:
        yield f"{rule}, and it is not known who registered it; register it again with --by NAME"
    if not actor.is_stated:
        yield f"{rule}; say who promotes it with --by NAME"
    if any(same_person(actor.name, name) for name in registrars):
        yield f"{rule}, and {actor.name} registered it; somebody else must promote it"
    elif actor.account and any(same_person(actor.account, account) for account in accounts):
        yield f"{rule}, and the account {actor.account} registered it; somebody else must promote it, with another one"


def _was_champion(records: Sequence[history.Record], chosen: tracking.Version) -> Iterator[str]:
    were = history.were_champion(records, chosen.model_name)
    if chosen.number not in were:
        listed = ", ".join(sorted(were, key=int)) or "none"
        yield f"version {chosen.number} was never champion, according to the promotion record (these were: {listed})"


def _forgotten(chosen: tracking.Version, knows_again: Sequence[str]) -> Iterator[str]:
    if knows_again:
        yield (
            f"version {chosen.number} still knows {', '.join(knows_again)}, which must stay forgotten; a person may "
            "force that with --force --by NAME --reason TEXT, which is recorded"
        )
