"""Which points a sweep has: every objective with every value of its dial. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i_unlearn.config.sections import EvaluateConfig, SweepConfig, UnlearnConfig

POINT, POINT_VERSION = "point.json", 1
"""The file that describes a point, and its schema version."""
ALPHA, EPSILON, NO_DIAL = "alpha", "epsilon", ""
NAMED_BY = ("objective", ALPHA, EPSILON)
"""Settings that a point is named by."""
DIALS = {
    "epsilon_constraint": EPSILON,  # its alpha has no meaning, the constraint replaces it
    "retain_finetune": NO_DIAL,  # has no forget term to weigh
}
"""The setting that trades forgetting for retention, where it is not alpha."""


@dataclass(frozen=True)
class Point:
    """One setting of a sweep."""

    objective: str
    dial: str
    """alpha, epsilon, or empty where the objective has no dial."""
    value: float | None

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from section `unlearn`; the run form sends points in this form."""
        return {"objective": self.objective} | ({self.dial: self.value} if self.dial else {})

    def __str__(self) -> str:
        """In words: encoder_l2 alpha 0.25."""
        return f"{self.objective} {self.dial} {self.value:g}" if self.dial else self.objective


def dial_of(objective: str) -> str:
    """The dial of an objective: alpha, epsilon or empty."""
    return DIALS.get(objective, ALPHA)


def point_of(settings: Mapping[str, Any]) -> Point:
    """The point that settings of section `unlearn` describe."""
    dial = dial_of(settings["objective"])
    return Point(settings["objective"], dial, float(settings[dial]) if dial else None)


def points_of(config: SweepConfig) -> list[Point]:
    """Every objective with every value of its dial, each once, in the order given."""
    values: dict[str, Sequence[float | None]] = {ALPHA: config.alphas, EPSILON: config.epsilons, NO_DIAL: [None]}
    points = [Point(name, dial_of(name), value) for name in config.objectives for value in values[dial_of(name)]]
    return list(dict.fromkeys(points))


def point_configs(
    changes: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]
) -> tuple[UnlearnConfig, EvaluateConfig]:
    """Settings of the two stages of a point: the compiled ones with the point's `changes` of section `unlearn`.

    A sweep shows no forget images, since more people look at a point's report than at a decision's. It makes no audit,
    since each attacks teacher and reference again, which costs more than the point; the chosen point is audited later.
    """
    quiet = {"show_forget_images": False, "audits": {**settings["evaluate"]["audits"], "run": []}}
    return UnlearnConfig(**{**settings["unlearn"], **changes}), EvaluateConfig(**{**settings["evaluate"], **quiet})
