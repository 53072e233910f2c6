"""What the MLflow registry says of the version that evidence is about."""

from collections.abc import Mapping

from i2i_unlearn.support.errors import UserError

EVIDENCE_TAG = "evidence_sha256"
"""Digest of the evidence.json of the newest evidence on a version."""


def note(model_name: str, number: str, sha256: str) -> None:
    """Tag the version with its evidence.

    Raises:
        UserError: MLflow cannot be reached.
    """
    from i2i_unlearn.registry import tracking

    with tracking.connect() as server:
        server.tag(server.version(model_name, number), {EVIDENCE_TAG: sha256})


def facts(model_name: str, number: str, wanted: Mapping[str, str]) -> dict[str, object]:
    """The version's facts; its tags must be `wanted` (digests of what the evidence is made of).

    Raises:
        UserError: there is no such version, it was registered from something else, or MLflow cannot be reached.
    """
    from i2i_unlearn.registry import tracking

    with tracking.connect() as server:
        version = server.version(model_name, number)
    for key, value in wanted.items():
        found = version.tags.get(key, "")
        if found != value:
            raise UserError(
                f"{model_name} version {number}: its {key} is {found[:12] or 'unknown'}, the given folders have"
                f" {value[:12]}; name the version that was registered from them"
            )
    return {
        "model_name": version.model_name,
        "version": version.number,
        "run_id": version.tags.get("evaluation_run_id", ""),
        "aliases": sorted(version.aliases),
        "teacher_version": version.tags.get("teacher_version"),
    }
