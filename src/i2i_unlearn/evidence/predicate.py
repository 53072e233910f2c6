"""What the evidence says: the predicate of the in-toto statement, version 1. JSON schema: docs/evidence.schema.json.

It names no person, and images only by keyed code: sample ids are not even in the manifest next to it; free text of a
request (basis, note, reason for an extension) is left out.
"""

import datetime
import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    StringConstraints,
    model_validator,
)

PREDICATE_TYPE = "urn:x-i2i-unlearn:evidence:v1"
"""A name, not an address. Additions keep the number; any other change gets the next one."""
_OF_ANY_VERSION = re.compile(r"urn:x-i2i-unlearn:evidence:v(\d+)")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Outcome = Literal["pass", "fail", "undecided", "n/a"]


def version_of(predicate_type: str) -> int | None:
    """The version of our evidence, None for anything else."""
    found = _OF_ANY_VERSION.fullmatch(predicate_type)
    return int(found[1]) if found else None


def _below(name: str) -> str:
    """A path that cannot leave its folder."""
    path = PurePosixPath(name)
    strange = not name.isprintable() or "\\" in name or path.is_absolute() or ".." in path.parts
    if strange or not path.parts or path.as_posix() != name:
        raise ValueError("must be a plain relative path")
    return name


RelativePath = Annotated[str, AfterValidator(_below)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class File(_Strict):
    """One file, by its path below a folder."""

    name: RelativePath
    sha256: Sha256
    size: NonNegativeInt
    """Bytes."""


class Model(_Strict):
    """The unlearned model."""

    sha256: Sha256
    """Of the lines `sha256 of the file, two spaces, path, line end`, sorted by path, of all files."""
    files: tuple[File, ...] = Field(min_length=1)
    inside: bool
    """Whether the bundle holds them, in model/."""


class Manifest(_Strict):
    """The split: which image was to be forgotten, kept, held out."""

    sha256: Sha256
    """Of manifest.parquet."""
    images_sha256: Sha256
    """Of all ids and images of the data set (see docs/privacy.md, fingerprints)."""
    requests: tuple[str, ...]
    """Ids of the requests carried out now."""
    erased: tuple[str, ...]
    """Ids of the requests carried out earlier."""
    roles: dict[str, NonNegativeInt]
    """Number of images by role."""


class RequestTime(_Strict):
    """One request against its deadline. Days are those of the calendar, in UTC."""

    id: str
    received: datetime.date
    due: datetime.date
    """Last day, moved by the days on which the clock stood still."""
    extended: bool
    """Whether it was set later than one month after `received`, pauses apart."""
    paused_days: NonNegativeInt
    """Days on which the clock stood still, until `finished_at`."""
    days_allowed: NonNegativeInt
    days_used: int
    """From `received` to `finished_at`."""
    in_time: bool


class Score(_Strict):
    """A measurement with its 95 % interval, null where there is none."""

    value: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    num_images: NonNegativeInt | None


Scores = dict[str, dict[str, dict[str, Score]]]
"""By model or pair of models, set of images, metric."""


class WorstImage(_Strict):
    """A forget image by its keyed code in the split manifest."""

    code: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    score: FiniteFloat
    """Higher = more likely trained on."""


class Audit(_Strict):
    """One attack on the models."""

    status: str
    """measured, blind, undecided ...: whether it could have found anything."""
    why: str
    question: str
    models: dict[str, dict[str, Score]]
    differences: dict[str, dict[str, Score]]
    worst_by: str = ""
    """The attack that ranks `worst_images`; empty where there are none."""
    worst_images: tuple[WorstImage, ...] = ()
    """Forget images that the attack finds most easily in the unlearned model, the worst first."""


class Measured(_Strict):
    """What metrics.json says, with intervals."""

    operator: str
    """What was hidden from the model."""
    operators: list[str] = []
    """All operators that were judged, NAME:KEEP_FRACTION each; the numbers here are of the first."""
    sets: dict[str, dict[str, Any]]
    scores: Scores
    differences: Scores
    ratios: Scores
    audits: dict[str, Audit]


class Line(_Strict):
    """One line of a policy and what became of it."""

    name: str
    measure: str
    bound: str
    value: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    outcome: Outcome
    by_rehearsal: bool = False
    """Whether the recipe passed it on stand-ins, not the request's own images, which are too few."""
    why: str


class Verdict(_Strict):
    """What one policy says."""

    policy_sha256: Sha256
    """Of policies/NAME.json."""
    outcome: Outcome
    lines: tuple[Line, ...]


class Gate(_Strict):
    """The decision."""

    deciding: str
    """Name of the policy that decides."""
    outcome: Outcome
    verdicts: dict[str, Verdict]
    """By name of the policy."""

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if self.deciding not in self.verdicts:
            raise ValueError(f"deciding names {self.deciding!r}, of which there is no verdict")
        if self.outcome != self.verdicts[self.deciding].outcome:
            raise ValueError("outcome is not the one of the deciding policy")
        return self


class Registered(_Strict):
    """The version in the MLflow registry, as the registry said when the evidence was made."""

    model_name: str
    version: str
    run_id: str
    aliases: tuple[str, ...]
    teacher_version: str | None
    accepted_undecided: str | None
    """Why a person promoted it although the gate was undecided; null where nobody did."""


class Predicate(_Strict):
    """Evidence on one model that was made to forget."""

    schema_version: Literal[1]
    created_at: AwareDatetime
    created_by: str
    """Program and version."""
    finished_at: AwareDatetime
    """When the requests were carried out."""
    finished_from: Literal["signing", "told"]
    """Whether that is the time of signing, so at the latest then, or a day that the signer told."""
    requests: tuple[RequestTime, ...] = Field(min_length=1)
    model: Model
    teacher_sha256: Sha256
    """Of the model before, as `model.sha256`."""
    both_kept_by: str | None
    """Who may keep the model before next to this one, as the signer says; null where not told."""
    references_sha256: tuple[Sha256, ...]
    """Of the models retrained without the images, to compare with; empty where there was none."""
    manifest: Manifest
    parameters: dict[str, Any]
    """Settings by stage, without paths and without names of labels."""
    unlearning: dict[str, str | int | float | bool | None]
    """What the training said of itself: objective, steps, seconds."""
    measured: Measured
    gate: Gate
    image: str | None
    """Container image it ran in; null where there was none, or it was not told."""
    code_revision: str | None
    """git commit checked out when the evidence was made; ends in -dirty where files differed from it."""
    data_revision: str | None
    """DVC's md5 of data/, at the same time."""
    registered: Registered | None
    files: tuple[File, ...]
    """Every file of the bundle but evidence.json itself and the weights."""


def schema_text() -> str:
    """What docs/evidence.schema.json holds."""
    schema = Predicate.model_json_schema(mode="serialization")
    return json.dumps({"$id": PREDICATE_TYPE, **schema}, indent=2) + "\n"
