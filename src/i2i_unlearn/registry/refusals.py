"""Why a version may not become champion: all reasons, not the first one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.evaluation.evaluated_model import digest_evaluation
from i2i_unlearn.registry import integrity, tracking
from i2i_unlearn.registry.actor import Actor, same_person
from i2i_unlearn.support import files

BETWEEN_NAMES = "; "
"""In the tags `registered_by` and `registered_account`."""


def gate(chosen: tracking.Version, accept_undecided: bool) -> Iterator[str]:
    """The gate must have passed; an undecided one may be accepted."""
    found, policy = chosen.tags.get("gate"), chosen.tags.get("gate_policy")
    if found is None or "evaluation_run_id" not in chosen.tags:
        yield f"version {chosen.number} was not evaluated (it is {chosen.tags.get('kind', 'of no kind')})"
    elif found == "undecided" and not accept_undecided:
        yield (
            f"version {chosen.number}: the gate is undecided (policy {policy}); a person may accept that with "
            "--accept-undecided --by NAME --reason TEXT"
        )
    elif found not in ("pass", "undecided"):
        yield f"version {chosen.number}: the gate did not pass (policy {policy}: {found})"


def lineage(chosen: tracking.Version, champion: tracking.Version | None) -> Iterator[str]:
    """Its teacher must be the champion of now, and it must have forgotten whatever that one has."""
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
            f"version {chosen.number} does not count {', '.join(back)} as forgotten, which the champion (version "
            f"{champion.number}) has forgotten; put them into split.erased and unlearn again"
        )


def at_hand(chosen: tracking.Version, unlearned: str | Path | None, evaluation: str | Path | None) -> Iterator[str]:
    """Folders that the caller has at hand must be what was registered."""
    given: list[tuple[str, str, str | None]] = []
    if unlearned:
        weights = files.digest_folder(Path(unlearned) / "model")
        given.append((str(unlearned), weights, chosen.tags.get("model_sha256")))
    if evaluation:
        given.append((str(evaluation), digest_evaluation(Path(evaluation)), chosen.tags.get("evaluation_sha256")))
    for folder, found, registered in given:
        if found != registered:
            yield (
                f"{folder}: is not what version {chosen.number} was registered with (found {integrity.short(found)}, "
                f"registered {integrity.short(registered)}); register it, or name its version"
            )


def bytes_in_mlflow(server: tracking.Server, chosen: tracking.Version) -> Iterator[str]:
    """Weights, the package that runs them and the evaluation must be those that were judged."""
    for difference in integrity.differences(server, chosen):
        yield f"version {chosen.number}: {difference}; delete the version in MLflow and register again"


def two_persons(server: tracking.Server, chosen: tracking.Version, actor: Actor) -> Iterator[str]:
    """Where the policy that judged it says so, whoever registered it may not promote it."""
    if not _asks_for_two(integrity.verdict(server, chosen)):
        return
    registrars = named_in(chosen.tags.get("registered_by", ""))
    accounts = named_in(chosen.tags.get("registered_account", ""))
    rule = f"policy {chosen.tags.get('gate_policy')} asks for two persons"
    if not registrars:
        yield f"version {chosen.number}: {rule}, and nobody knows who registered it; register it again with --by NAME"
    if not actor.is_stated:
        yield f"version {chosen.number}: {rule}; say who promotes it with --by NAME"
    if any(same_person(actor.name, name) for name in registrars):
        yield f"version {chosen.number}: {rule}, and {actor.name} registered it; somebody else must promote it"
    elif actor.account and any(same_person(actor.account, account) for account in accounts):
        yield (
            f"version {chosen.number}: {rule}, and the account {actor.account} registered it; somebody else must "
            "promote it with an account of their own"
        )


def _asks_for_two(verdict: Mapping[str, Any]) -> bool:
    return verdict.get("two_person") is True


def named_in(tag: str) -> list[str]:
    """The names in a tag."""
    return [name.strip() for name in tag.split(BETWEEN_NAMES.strip()) if name.strip()]
