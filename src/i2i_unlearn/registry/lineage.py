"""Lineage both ways: from a version to what it came from, and from an image to the versions that knew or forgot it.

Everything is read from the registry: the versions' tags, and the split manifests in their runs. Manifests name images
by keyed codes, so going from an image to versions needs the key.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from i2i_unlearn.data.images.holdout import TRAIN
from i2i_unlearn.data.split.manifest import DROPPED, ERASED, FORGET, SplitManifest, read_manifest
from i2i_unlearn.registry import tracking
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError

_MANIFEST = "splits/manifest.parquet"


@dataclass(frozen=True)
class Node:
    """A version and what it came from; unknown fields are empty."""

    model_name: str
    version: str
    kind: str
    aliases: list[str]
    requests: list[str]
    """Forgotten by this version."""
    erased: list[str]
    """Forgotten before it."""
    model_sha256: str
    manifest_sha256: str
    git_commit: str
    data_md5: str
    run_id: str
    kfp_run_id: str
    gate: str
    gate_policy: str
    evidence: dict[str, str] = field(default_factory=dict)
    """Tags that name its evidence."""
    teacher: "Node | None" = None
    teacher_note: str = ""
    """Why the teacher's node is missing, if it should be there."""


def of_version(server: tracking.Server, model_name: str, number: str) -> Node:
    """The chain from a version back to the original.

    Raises:
        UserError: there is no such version.
    """
    return _node(server, server.version(model_name, number), frozenset())


def _node(server: tracking.Server, version: tracking.Version, seen: frozenset[str]) -> Node:
    tags = version.tags
    seen |= {version.number}
    number = tags.get("teacher_version", "")
    teacher, note = None, ""
    if number in seen:
        note = f"the tag teacher_version names version {number}, which came later; it was changed by hand"
    elif number:
        try:
            teacher = _node(server, server.version(version.model_name, number), seen)
        except UserError as error:
            note = str(error)
    elif tags.get("kind") == "unlearned":
        note = f"teacher {tags.get('teacher_sha256', '')[:12]} was not registered"
    if teacher and teacher.model_sha256 != tags.get("teacher_sha256"):
        note = f"version {number} has other bytes ({teacher.model_sha256[:12]}) than the teacher"
    return Node(
        model_name=version.model_name,
        version=version.number,
        kind=tags.get("kind", ""),
        aliases=sorted(version.aliases),
        requests=tracking.names(tags.get("requests", "")),
        erased=tracking.names(tags.get("erased", "")),
        model_sha256=tags.get("model_sha256", ""),
        manifest_sha256=tags.get("manifest_sha256", ""),
        git_commit=tags.get("git_commit", ""),
        data_md5=tags.get("data_md5", ""),
        run_id=tags.get("evaluation_run_id", ""),
        kfp_run_id=tags.get("kfp_run_id", ""),
        gate=tags.get("gate", ""),
        gate_policy=tags.get("gate_policy", ""),
        evidence={key: value for key, value in sorted(tags.items()) if key.startswith("evidence")},
        teacher=teacher,
        teacher_note=note,
    )


def root_of(node: Node) -> tuple[Node, str]:
    """The original that a version comes from; else where its lineage ends, and why that is not the original."""
    while node.teacher and not node.teacher_note:
        node = node.teacher
    if node.teacher_note or node.kind == "original":
        return node, node.teacher_note
    return node, f"version {node.version} is not registered as an original and names no teacher"


def fetch_root(uri: str, out: str | Path) -> tuple[str, str]:
    """Download the original that a version comes from to `out`, unless it is that version itself.

    Returns its address, models:/NAME/VERSION, and why there is no model in `out`, where it ought to be there: its
    weights were erased, or the lineage does not lead to it (no address then).

    Raises:
        UserError: there is no such version, or MLflow cannot be reached.
    """
    name, _, number = uri.removeprefix("models:/").partition("/")
    with tracking.connect() as server:
        root, why = root_of(of_version(server, name, number))
        if why:
            return "", why
        if root.version != number:
            why = tracking.fetch_if_there(server, server.version(name, root.version), out)
    return f"models:/{name}/{root.version}", why


# --- from a sample ---


@dataclass(frozen=True)
class Touch:
    """How a version relates to the images that were asked for."""

    version: str
    kind: str
    aliases: list[str]
    relation: str
    """unlearned | asked to unlearn, gate ... | unlearned earlier | knows | never trained on | partly | not known."""
    counts: dict[str, int]
    """Images by relation."""


def of_samples(server: tracking.Server, model_name: str, codes: Collection[str]) -> list[Touch]:
    """How every version relates to the images with these keyed codes, oldest version first.

    Raises:
        UserError: no manifest in the registry holds any of them, or one is damaged.
    """
    versions = list(reversed(server.versions(model_name)))
    with TemporaryDirectory() as folder:
        manifests = _manifests(server, versions, Path(folder))
    rows = {sha256: found[found["hmac_id"].isin(codes)] for sha256, found in manifests.items()}
    known = [found for found in rows.values() if len(found)]
    if not known:
        raise UserError(
            f"none of the {len(manifests)} split manifests of {model_name} holds these images; either they were not in "
            "the data that was split, or this is not the key for sample ids that it was split with"
        )
    return [_touch(version, rows, known[-1], server) for version in versions]


def _manifests(server: tracking.Server, versions: list[tracking.Version], folder: Path) -> dict[str, pd.DataFrame]:
    """Rows of each manifest by its digest; each is downloaded once."""
    found: dict[str, pd.DataFrame] = {}
    for version in versions:
        sha256 = version.tags.get("manifest_sha256", "")
        if sha256 not in found and (manifest := manifest_of(server, version, folder)):
            found[sha256] = manifest.rows
    return found


def manifest_of(server: tracking.Server, version: tracking.Version, folder: Path) -> SplitManifest | None:
    """The split manifest that a version was made with, downloaded into `folder`; None if it has none (an original).

    Raises:
        UserError: it is missing, or was changed after registration.
    """
    sha256, run_id = (version.tags.get(key, "") for key in ("manifest_sha256", "evaluation_run_id"))
    if not (sha256 and run_id):
        return None
    place = folder / sha256
    server.download_record(run_id, _MANIFEST, place)
    path = place / Path(_MANIFEST).name
    if files.digest_file(path) != sha256:
        raise UserError(
            f"version {version.number}: its split manifest was changed after registration; delete the version and "
            "register it again"
        )
    return read_manifest(path)


def _touch(
    version: tracking.Version, rows: Mapping[str, pd.DataFrame], newest: pd.DataFrame, server: tracking.Server
) -> Touch:
    original = version.tags.get("kind") == "original"
    # Which images are trained on is decided before any request, so every manifest agrees on it.
    found = newest if original else rows.get(version.tags.get("manifest_sha256", ""))
    if found is None or not len(found):
        counts = {"not known": 0}
    else:
        pairs = zip(found["role"].tolist(), found["part"].tolist(), strict=True)
        words = dict(_WORDS) if _passed(version) else {**_WORDS, FORGET: _not_passed(version)}
        counts = dict(Counter(_relation("" if original else role, part, words) for role, part in pairs))
    relation = next(iter(counts)) if len(counts) == 1 else "partly"
    aliases = list(server.version(version.model_name, version.number).aliases)
    return Touch(version.number, version.tags.get("kind", ""), sorted(aliases), relation, counts)


_WORDS = {FORGET: "unlearned", ERASED: "unlearned earlier", DROPPED: "knows, not used again"}


def _passed(version: tracking.Version) -> bool:
    """The gate passed, or a person accepted that it could not decide."""
    return version.tags.get("gate") == "pass" or tracking.ACCEPTED in version.tags


def _not_passed(version: tracking.Version) -> str:
    return f"asked to unlearn, gate {version.tags.get('gate', 'unknown')}"


def _relation(role: str, part: str, words: Mapping[str, str]) -> str:
    return "never trained on" if part != TRAIN else words.get(role, "knows")
