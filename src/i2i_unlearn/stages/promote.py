"""Stage `promote` (`registry promote`): give a registered version the alias `champion`, if nothing speaks against it.

What is refused: registry/refusals.py. The champion that was seen is read again under the lock of the promotion record
before the alias moves; if somebody was faster, nothing is done. The move is written down before and after
(registry/alias_moves.py): a champion without a record means that the alias was moved by hand.
"""

from pathlib import Path
from typing import Any

from i2i_unlearn.config.sections import PromoteConfig, RegisterConfig
from i2i_unlearn.registry import alias_moves, forgotten, project_registry, refusals, tracking
from i2i_unlearn.registry.actor import Actor, find_actor
from i2i_unlearn.registry.copying import copy_version
from i2i_unlearn.registry.notify import notify, refusals_notified
from i2i_unlearn.support.errors import GateRefused, UserError

Facts = dict[str, float | str]
_JUDGED = ("gate", "gate_policy", "teacher_version", "evaluation_run_id", "evaluation_sha256")
"""Tags that the promotion record keeps, next to those that name the version."""


def run(
    config: PromoteConfig,
    register_config: RegisterConfig,
    *,
    version: str | None = None,
    unlearned: str | Path | None = None,
    evaluation: str | Path | None = None,
    accept_undecided: str = "",
    by: str = "",
    reason: str = "",
    dry_run: bool = False,
    origin: str = "",
    target: str = "",
    requests: str | Path = "data/forget",
) -> Facts:
    """Promote `version`: a number; None = the candidate (with `accept_undecided`: the newest, if undecided).

    `accept_undecided`: the reason why a version is accepted that the gate could not decide on; the promotion record and
    a tag of the version keep it, and evidence on that version says it. Empty = such a version is refused.

    `unlearned` and `evaluation` (output folders of these stages), if given, must hold what was registered.
    `dry_run`: say what would happen; change nothing and notify nobody. `origin` and `target` (addresses of MLflow):
    copy the version from one to the other first and promote it there; an original is only copied. `requests`: folder
    of the requests, whose list of the forgotten gets the images of this version.

    Returns:
        model_name, version, alias (champion), outcome (promoted | already champion | would be promoted), replaced
        (number of the previous champion, or empty), message, which says it in words, and forgotten, what the list of
        the forgotten got.

    Raises:
        GateRefused: the version may not be champion, or another version became champion in the meantime.
        UserError: there is no such version, an undecided one is accepted without a name, the promotion
            record is damaged, or MLflow cannot be reached.
    """
    accepted = accept_undecided.strip()
    if accept_undecided and not (by.strip() and accepted):
        raise UserError(
            "accepting an undecided version needs a name and a reason; give --accept-undecided REASON --by NAME"
        )
    name, actor = register_config.model_name, find_actor(by)
    asked = refusals.Asked(actor=actor, accept_undecided=bool(accepted), unlearned=unlearned, evaluation=evaluation)
    if origin or target:
        version = _copied(origin, target, version or "", register_config, actor, dry_run, config.ledger)
    who = {**actor.facts(), "reason": "; ".join(filter(None, (accepted, reason)))}
    about: dict[str, Any] = {"model_name": name, "version": version or "", **who}
    connected = project_registry.connect(config.ledger, name, target)
    with refusals_notified(config, about, dry_run=dry_run), connected as server:
        if not dry_run:
            alias_moves.settle(config.ledger, server, name)
        champion = server.at_alias(name, tracking.CHAMPION)
        chosen = _choose(server, name, version, bool(accepted))
        about["version"] = chosen.number
        if champion and champion.number == chosen.number:
            listed = "" if dry_run else forgotten.note(server, chosen, requests)  # the last one may have been killed
            return _already_champion(server, chosen, listed)
        champion = _replaceable(server, config.ledger, chosen, champion, asked)
        instead = f"in place of version {champion.number}"
        if dry_run:
            words = f"would become champion {instead}; nothing was changed"
            return alias_moves.facts(chosen, "would be promoted", champion.number, words, forgotten="")
        _move(server, config.ledger, chosen, champion, accepted, who)
        listed = forgotten.note(server, chosen, requests)
    facts = alias_moves.facts(chosen, "promoted", champion.number, f"is champion now {instead}", forgotten=listed)
    notify(config, "promoted", {**about, "replaced": champion.number, "message": facts["message"]})
    return facts


def _already_champion(server: tracking.Server, champion: tracking.Version, listed: str) -> Facts:
    words = f"is already champion; nothing was changed{_newer(server, champion)}"
    return alias_moves.facts(champion, "already champion", "", words, forgotten=listed)


def _replaceable(
    server: tracking.Server,
    ledger: str,
    chosen: tracking.Version,
    champion: tracking.Version | None,
    asked: refusals.Asked,
) -> tracking.Version:
    """The champion, if `chosen` may take its place.

    Raises:
        GateRefused: with every reason against it.
    """
    lost = "" if champion else project_registry.lost_champion(server, ledger, chosen.model_name)
    against = refusals.of_promotion(server, chosen, champion, asked, lost)
    if against or champion is None:
        raise GateRefused(*against)
    return champion


def _move(
    server: tracking.Server,
    ledger: str,
    chosen: tracking.Version,
    champion: tracking.Version,
    accepted: str,
    who: dict[str, str],
) -> None:
    """Record and move the alias; an accepted version is tagged with the reasons, of which each is kept."""
    undecided = chosen.tags["gate"] == "undecided"
    judged = {key: chosen.tags.get(key, "") for key in _JUDGED}
    entry = {"event": "promote", **judged, "accepted_undecided": undecided, **who}
    alias_moves.move(ledger, server, chosen, champion, entry)
    if undecided:
        earlier = f"{chosen.tags[tracking.ACCEPTED]}; " if tracking.ACCEPTED in chosen.tags else ""
        server.tag(chosen, {tracking.ACCEPTED: (earlier + accepted)[: tracking.MOST_TAG]})


def _copied(
    origin: str, target: str, number: str, register_config: RegisterConfig, actor: Actor, dry_run: bool, record: str
) -> str:
    """Number at the target."""
    if not (origin and target):
        raise UserError("--from and --to go together; give the MLflow that has the version and the one that gets it")
    if dry_run:
        raise UserError(
            "--dry-run copies nothing, so nothing could be checked; leave out --from and --to, or --dry-run"
        )
    return copy_version(origin, target, number, register_config, actor, record)[0]


def _choose(server: tracking.Server, name: str, number: str | None, accept_undecided: bool) -> tracking.Version:
    if number is not None:
        return server.version(name, number)
    newest = next(iter(server.versions(name)), None)
    if newest is None:
        raise UserError(f"{name} has no version; register one with `i2i-unlearn register`")
    if accept_undecided and newest.tags.get("gate") == "undecided":
        return server.version(name, newest.number)
    candidate = server.at_alias(name, tracking.CANDIDATE)
    if candidate is None:
        raise GateRefused(refusals.no_candidate(newest))
    return candidate


def _newer(server: tracking.Server, champion: tracking.Version) -> str:
    newest = server.versions(champion.model_name)[0]
    if newest.number == champion.number:
        return ""
    return f"; the newer version {newest.number} is not promoted (gate {newest.tags.get('gate', 'none')})"
