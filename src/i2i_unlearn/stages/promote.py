"""Stage `promote`: give a registered version the alias `champion`, if the record allows it.

Refused (GateRefused, the reason in words) unless all of this holds for the version:

    gate      it passed; or it was undecided and a named person accepts that, with a reason
    lineage   its teacher is the champion of now, and it has forgotten whatever that one has
    bytes     its weights, the package that runs them and the evaluation in MLflow are those that were judged

The champion that was seen is read again just before the alias moves; if somebody was faster, nothing is done. The
promotion record is written first: a champion without a record is a sign that the alias was moved by hand.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from i2i_unlearn import files, ledger, tracking
from i2i_unlearn.config import PromoteConfig, RegisterConfig
from i2i_unlearn.errors import GateRefused, UserError
from i2i_unlearn.evaluated import FINDINGS, digest_evaluation
from i2i_unlearn.stages.register import EVALUATION

Facts = dict[str, float | str]


def run(
    config: PromoteConfig,
    register_config: RegisterConfig,
    *,
    version: str | None = None,
    unlearned: str | Path | None = None,
    evaluation: str | Path | None = None,
    accept_undecided: bool = False,
    by: str = "",
    reason: str = "",
) -> Facts:
    """Promote `version`: a number; None = whoever is `candidate` (with `accept_undecided`: the newest if undecided).

    `unlearned` and `evaluation` (output folders of these stages), where given, must hold what was registered.

    Returns:
        model_name, version, alias (champion), outcome (promoted | already champion), replaced (the champion before,
        a number, or empty) and message, which says it in words.

    Raises:
        GateRefused: the version may not be champion, or another became champion meanwhile.
        UserError: there is no such version, an undecided one is accepted without name and reason, the promotion record
            is damaged, or MLflow cannot be reached.
    """
    if accept_undecided and not (by.strip() and reason.strip()):
        raise UserError("accepting an undecided version needs a name and a reason; add --by NAME --reason TEXT")
    name = register_config.model_name
    with tracking.connect() as server, ledger.opened(config.ledger) as record:
        champion = server.at_alias(name, tracking.CHAMPION)
        chosen = _choose(server, name, version, accept_undecided)
        if champion and champion.number == chosen.number:
            return _facts(chosen, "already champion", "", _newer(server, chosen))
        if champion is None:
            raise GateRefused(f"{name} has no champion; register the original with `i2i-unlearn register --original`")
        _check_gate(chosen, accept_undecided)
        _check_lineage(chosen, champion)
        _check_given(chosen, unlearned, evaluation)
        with TemporaryDirectory() as folder:
            _check_bytes(server, chosen, Path(folder))
        _check_champion_is_still(server, champion, chosen)
        record.append(_entry(chosen, champion, by, reason))
        server.set_alias(chosen, tracking.CHAMPION)
        return _facts(chosen, "promoted", champion.number, "")


# --- which version ---


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
        raise GateRefused(f"{name} has no candidate: {_why_not(newest)}")
    return candidate


def _why_not(newest: tracking.Version) -> str:
    gate = newest.tags.get("gate")
    if gate is None:
        return f"no unlearned model is registered, version {newest.number} is the {newest.tags.get('kind', 'newest')}"
    return f"the newest version {newest.number} has gate {gate} (policy {newest.tags.get('gate_policy')})"


def _newer(server: tracking.Server, champion: tracking.Version) -> str:
    newest = server.versions(champion.model_name)[0]
    if newest.number == champion.number:
        return ""
    return f"; the newer version {newest.number} is not promoted (gate {newest.tags.get('gate', 'none')})"


# --- may it? ---


def _check_gate(chosen: tracking.Version, accept_undecided: bool) -> None:
    gate, policy = chosen.tags.get("gate"), chosen.tags.get("gate_policy")
    if gate is None or "evaluation_run_id" not in chosen.tags:
        raise GateRefused(f"version {chosen.number} was not evaluated (it is {chosen.tags.get('kind', 'of no kind')})")
    if gate == "undecided" and not accept_undecided:
        raise GateRefused(
            f"version {chosen.number}: the gate is undecided (policy {policy}); a person may accept that with "
            "--accept-undecided --by NAME --reason TEXT"
        )
    if gate not in ("pass", "undecided"):
        raise GateRefused(f"version {chosen.number}: the gate did not pass (policy {policy}: {gate})")


def _check_lineage(chosen: tracking.Version, champion: tracking.Version) -> None:
    teacher = chosen.tags.get("teacher_version", "unknown")
    if chosen.tags.get("teacher_sha256", "") != champion.tags.get("model_sha256"):
        raise GateRefused(
            f"version {chosen.number} was unlearned from version {teacher}, but the champion is version "
            f"{champion.number}; unlearn from models:/{champion.model_name}/{champion.number}"
        )
    back = sorted(set(champion.requests()) - set(chosen.requests()))
    if back:
        raise GateRefused(
            f"version {chosen.number} does not count {', '.join(back)} as forgotten, which the champion (version "
            f"{champion.number}) has forgotten; put them into split.erased and unlearn again"
        )


def _check_bytes(server: tracking.Server, chosen: tracking.Version, folder: Path) -> None:
    """Compare what lies in MLflow with the version's tags, and both with what the evaluation says it judged."""
    (folder / "version").mkdir()
    saved = server.download(chosen, folder / "version")
    weights = files.digest_folder(saved / tracking.MODEL_PATH)
    _compare(chosen, "weights", weights, chosen.tags.get("model_sha256"))
    _compare(chosen, "files", files.digest_folder(saved), chosen.logged.saved_sha256)
    evaluation = folder / EVALUATION
    for name in FINDINGS:
        server.download_record(chosen.tags["evaluation_run_id"], f"{EVALUATION}/{name}", evaluation)
    _compare(chosen, "evaluation", digest_evaluation(evaluation), chosen.tags.get("evaluation_sha256"))
    metrics, verdicts = (files.read_json(evaluation / name) for name in FINDINGS)
    _compare(chosen, "weights", weights, metrics["models"]["unlearned"])
    _compare(chosen, "teacher", chosen.tags.get("teacher_sha256"), metrics["models"]["teacher"])
    _compare(chosen, "split manifest", chosen.tags.get("manifest_sha256"), metrics["manifest_sha256"])
    _compare(chosen, "gate", chosen.tags.get("gate"), verdicts["verdicts"][verdicts["deciding"]]["outcome"])


def _compare(chosen: tracking.Version, what: str, found: str | None, evaluated: str | None) -> None:
    if found != evaluated:
        raise GateRefused(
            f"version {chosen.number}: its {what} in MLflow (found {_short(found)}) differs from what was evaluated "
            f"({_short(evaluated)}); delete the version in MLflow and register again"
        )


def _short(value: str | None) -> str:
    return (value or "nothing")[:12]


def _check_given(chosen: tracking.Version, unlearned: str | Path | None, evaluation: str | Path | None) -> None:
    """What the caller has at hand must be what was registered."""
    given: list[tuple[str, str, str | None]] = []
    if unlearned:
        weights = files.digest_folder(Path(unlearned) / "model")
        given.append((str(unlearned), weights, chosen.tags.get("model_sha256")))
    if evaluation:
        given.append((str(evaluation), digest_evaluation(Path(evaluation)), chosen.tags.get("evaluation_sha256")))
    for folder, found, registered in given:
        if found != registered:
            raise GateRefused(
                f"{folder}: is not what version {chosen.number} was registered with (found {_short(found)}, registered "
                f"{_short(registered)}); register it, or name its version"
            )


def _check_champion_is_still(server: tracking.Server, seen: tracking.Version, chosen: tracking.Version) -> None:
    now = server.at_alias(seen.model_name, tracking.CHAMPION)
    if now is None or now.number != seen.number:
        winner = f"version {now.number}" if now else "somebody who took the alias away"
        raise GateRefused(
            f"version {chosen.number} lost to {winner}: the champion was version {seen.number} when the check began; "
            "unlearn from the champion of now"
        )


# --- what is told ---


def _entry(chosen: tracking.Version, champion: tracking.Version, by: str, reason: str) -> dict[str, Any]:
    kept = ("gate", "gate_policy", "requests", "erased", "teacher_version", "evaluation_run_id", "evaluation_sha256")
    return {
        "event": "promote",
        "model_name": chosen.model_name,
        "version": chosen.number,
        "model_sha256": chosen.tags["model_sha256"],
        "replaced_version": champion.number,
        "replaced_sha256": champion.tags.get("model_sha256", ""),
        **{key: chosen.tags.get(key, "") for key in kept},
        "accepted_undecided": chosen.tags["gate"] == "undecided",
        "by": by,
        "reason": reason,
    }


def _facts(chosen: tracking.Version, outcome: str, replaced: str, more: str) -> Facts:
    instead = f" in place of version {replaced}" if replaced else ""
    done = "is champion now" if outcome == "promoted" else "is already champion; nothing was changed"
    return {
        "model_name": chosen.model_name,
        "version": chosen.number,
        "alias": tracking.CHAMPION,
        "outcome": outcome,
        "replaced": replaced,
        "message": f"{chosen.model_name} version {chosen.number} {done}{instead}{more}",
    }
