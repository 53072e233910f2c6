"""What the registry and the promotion record say of requests: which were unlearned, which passed, which are in use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.registry import ledger
from i2i_unlearn.registry.champion import has_registry
from i2i_unlearn.registry.history import last_champion
from i2i_unlearn.support.errors import UserError


@dataclass(frozen=True)
class RegistryFacts:
    """Ids of requests by how far they came; a request may be in several."""

    unlearned: frozenset[str] = frozenset()
    """Some registered version has forgotten them."""
    gated: frozenset[str] = frozenset()
    """Some version that has forgotten them passed the gate."""
    promoted: frozenset[str] = frozenset()
    """The champion has forgotten them."""
    unreachable: str = ""
    """Why the registry could not be asked; empty = it was."""


def registry_facts(model_name: str, record: str | Path) -> RegistryFacts:
    """Ask the registry; where it cannot be reached, the promotion record alone says what is in use.

    Raises:
        UserError: the registry cannot be reached, and the promotion record is damaged.
    """
    if not has_registry():
        return RegistryFacts()
    try:
        return _ask(model_name)
    except UserError as error:
        return RegistryFacts(promoted=_promoted(ledger.read(record), model_name), unreachable=str(error))


def _ask(model_name: str) -> RegistryFacts:
    from i2i_unlearn.registry import tracking

    with tracking.connect() as server:
        champion = server.at_alias(model_name, tracking.CHAMPION)
        versions = server.versions(model_name)
    return RegistryFacts(
        unlearned=frozenset(id_ for version in versions for id_ in version.requests()),
        gated=frozenset(
            id_ for version in versions if version.tags.get("gate") == "pass" for id_ in version.requests()
        ),
        promoted=frozenset(champion.requests() if champion else ()),
    )


def _promoted(records: Sequence[Mapping[str, Any]], model_name: str) -> frozenset[str]:
    """Requests of the version that was made champion last."""
    move = last_champion(records, model_name)
    tags = [move.record.get(key, "") for key in ("requests", "erased")] if move else []
    return frozenset(id_ for tag in tags for id_ in tag.split(",") if id_)
