"""Carries out the filed requests: stages, registration and, where it is wanted, promotion."""

import json
from dataclasses import dataclass, field
from typing import Any

from i2i_unlearn.config.sections import SnapshotConfig, load_params
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
            _has_original,
            lambda answer: done.original.update(json.loads(answer["printed"])),
        ),
        Command(
            "register",
            lambda: ["register", "--json"],
            frozenset({"evaluate", "register the original"}),
            record=lambda answer: done.version.update(json.loads(answer["printed"])),
        ),
    ]
    if promote:
        commands.append(
            Command(
                "promote",
                lambda: ["registry", "promote", "--version", str(done.version["version"]), "--json"],
                frozenset({"register"}),
                record=lambda answer: _promoted(done, answer),
            )
        )
    done.ran = bring_up_to_date(commands)
    return done


def _has_original() -> bool:
    """Whether the teacher is the model before any request."""
    return not SnapshotConfig.from_params(load_params()).source.startswith("models:")


def _promoted(done: CarriedOut, answer: Answer) -> None:
    done.refused += answer["refused"]
    if not answer["refused"]:
        done.promotion.update(json.loads(answer["printed"]))
