"""Carries out the filed requests: stages, registration and, where it is wanted, promotion."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from i2i_unlearn.config.sections import PromoteConfig, SnapshotConfig, load_params
from i2i_unlearn.requests.remembered import recall, remember
from i2i_unlearn.requests.run import Command, bring_up_to_date
from i2i_unlearn.support.workers import Answer

TEACHER = "artifacts/teacher/model"
"""Has the bytes with which an original is registered (stages/register.py)."""


@dataclass
class CarriedOut:
    """What was done."""

    ran: list[str] = field(default_factory=list)
    """Names of the stages that ran."""
    original: dict[str, Any] = field(default_factory=dict)
    """What `stages.register` tells of the original; empty where the teacher is a registered version."""
    version: dict[str, Any] = field(default_factory=dict)
    """What it tells of the unlearned model."""
    promotion: dict[str, Any] = field(default_factory=dict)
    """What `stages.promote` tells; empty where it was not asked, or refused."""
    refused: list[str] = field(default_factory=list)
    """Reasons why the version was not promoted."""

    @property
    def is_new(self) -> bool:
        """Whether anything changed."""
        registered = {self.original.get("registered"), self.version.get("registered")}
        return bool(self.ran or registered - {None, "already"} or self.promotion.get("outcome") == "promoted")


def carry_out(*, promote: bool = False) -> CarriedOut:
    """Bring the project in the current folder up to date and register its models; goes on where it was stopped.

    Raises:
        UserError: as `requests.run.bring_up_to_date`, or what `stages.register` and `stages.promote` refuse.
    """
    done = CarriedOut()
    commands = [
        Command(
            "register the original",
            lambda: ["register", "--original", TEACHER, "--json"],
            frozenset({"snapshot"}),
            lambda: _has_original() and not _recalled(promote),
            lambda answer: done.original.update(json.loads(answer["printed"])),
        ),
        Command(
            "register",
            lambda: ["register", "--json"],
            frozenset({"evaluate", "register the original"}),
            lambda: _takes(done, _recalled(promote)),
            lambda answer: done.version.update(json.loads(answer["printed"])),
        ),
        Command(
            "promote",
            lambda: ["registry", "promote", "--version", str(done.version["version"]), "--json"],
            frozenset({"register"}),
            lambda: promote and not (done.promotion or done.refused),
            lambda answer: _promoted(done, answer),
        ),
    ]
    done.ran = bring_up_to_date(commands)
    remember({"promote": promote, **asdict(done)}, _decisive())
    return done


def _recalled(promote: bool) -> CarriedOut | None:
    """What the last whole run told, where that still holds; nothing of it is new."""
    kept = recall(_decisive())
    if kept is None or kept.pop("promote") != promote:
        return None
    known = CarriedOut(**kept)
    known.version["registered"] = "already"
    known.promotion |= {"outcome": "already champion"} if known.promotion else {}
    return known


def _takes(done: CarriedOut, known: CarriedOut | None) -> bool:
    """Copy what is known; whether nothing is."""
    if known:
        done.version, done.promotion, done.refused = known.version, known.promotion, known.refused
    return known is None


def _decisive() -> list[Path]:
    """The files that decide what is registered and promoted; dvc.lock has the digests of all that stages made."""
    ledger = PromoteConfig.from_params(load_params()).ledger
    return [Path(name) for name in ("params.yaml", "dvc.lock", ledger, "data/forget/forgotten.jsonl")]


def _has_original() -> bool:
    """Whether the teacher is the model before any request."""
    return not SnapshotConfig.from_params(load_params()).source.startswith("models:")


def _promoted(done: CarriedOut, answer: Answer) -> None:
    done.refused += answer["refused"]
    if not answer["refused"]:
        done.promotion.update(json.loads(answer["printed"]))
