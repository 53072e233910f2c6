"""Copy a version from one registry to another: checked first, and tagged with where it came from."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.registry import project_registry, refusals, tracking
from i2i_unlearn.registry.actor import Actor
from i2i_unlearn.support.errors import GateRefused

IDENTITY = ("kind", "model_sha256", "unlearned_sha256", "teacher_sha256", "requests", "erased")
"""Tags that make a version what it is, as `register` has them."""
OF_ITS_PLACE = (
    *("teacher_version", "evaluation_run_id", "saved_sha256", "rollback_forced"),
    *(tracking.ACCEPTED, tracking.PROMOTED, tracking.FURTHER),
)
"""Tags that mean something only in the registry of origin."""


def copy_version(
    origin: str, target: str, number: str, config: RegisterConfig, actor: Actor, record: str
) -> tuple[str, bool]:
    """Copy a version of `config.model_name`; return its number at the target, and whether it is new there.

    Without `number`: the candidate at the origin. `record`: promotion ledger of the target.

    Raises:
        GateRefused: its bytes, tags or evaluation are not what was registered.
        UserError: there is no such version, or a registry cannot be reached.
    """
    with TemporaryDirectory() as folder:
        with tracking.connect(origin) as server:
            chosen = _choose(server, config.model_name, number)
            if against := refusals.of_copy(server, chosen):
                raise GateRefused(*against)
            taken = tracking.take(server, chosen, Path(folder))
            about = _origin(server, chosen, actor)
        with project_registry.connect(record, config.model_name, target) as server:
            identity = {key: chosen.tags.get(key, "") for key in IDENTITY}
            if known := server.known_version(config.model_name, identity):
                return known.number, False
            kept = {key: tag for key, tag in chosen.tags.items() if key not in (*IDENTITY, *OF_ITS_PLACE)}
            tags = {**kept, **about, **_teacher_version(server, config.model_name, chosen)}
            given = tracking.give(server, taken, config.model_name, config.experiment, identity, tags)
            _set_alias(server, given, record)
            return given.number, True


def _choose(server: tracking.Server, model_name: str, number: str) -> tracking.Version:
    if number:
        return server.version(model_name, number)
    candidate = server.at_alias(model_name, tracking.CANDIDATE)
    if candidate is None:
        raise GateRefused(refusals.no_candidate_to_copy(model_name))
    return candidate


def _origin(server: tracking.Server, chosen: tracking.Version, actor: Actor) -> Mapping[str, str]:
    return {
        "origin_registry": tracking.public(server.uri),
        "origin_version": chosen.number,
        "origin_run_id": chosen.tags.get("evaluation_run_id", ""),
        "copied_by": actor.name,
    }


def _teacher_version(server: tracking.Server, model_name: str, chosen: tracking.Version) -> Mapping[str, str]:
    teacher = chosen.tags.get("teacher_sha256", "")
    numbers = [version.number for version in server.versions(model_name, model_sha256=teacher)] if teacher else []
    return {"teacher_version": numbers[-1]} if numbers else {}


def _set_alias(server: tracking.Server, given: tracking.Version, record: str) -> None:
    """As `register` does: candidate if the gate passed; an original becomes champion if there is none."""
    if given.tags.get("gate") == "pass":
        server.set_alias(given, tracking.CANDIDATE)
    name = given.model_name
    if given.tags.get("kind") == "original" and server.at_alias(name, tracking.CHAMPION) is None:
        if lost := project_registry.lost_champion(server, record, name):
            raise GateRefused(refusals.no_champion(name, lost))
        server.set_alias(given, tracking.CHAMPION)
