"""Scores of finished cases, grouped: what is reported of a setting against the teacher and the references.

A group is one setting of one model in one place (family, operator, request, study) with all its seeds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from benchmarks.quality.cells import Store
from benchmarks.quality.intervals import Floats, Interval, auc, auc_difference, auc_interval, difference, over_seeds
from benchmarks.quality.plan import ORIGINAL, REFERENCE, Case

SETS = {"forget": "forget", "retain": "retain", "unseen": "retain_holdout", "forget_holdout": "forget_holdout"}
"""Names in the tables -> roles of the split."""


@dataclass(frozen=True, eq=False)
class Seed:
    """One scored model."""

    case: Case
    scores: Mapping[str, Mapping[str, float]]
    """By role and metric."""
    arrays: Mapping[str, Floats]
    wall_s: float
    cpu_s: float | None

    def loss_of_members(self) -> Floats:
        return self.arrays["forget/loss"]

    def loss_of_others(self) -> Floats:
        """Never trained on: of the forget set's classes where there are such, else of all (single images)."""
        own = self.arrays.get("forget_holdout/loss")
        return self.arrays["retain_holdout/loss"] if own is None else own


@dataclass(frozen=True, eq=False)
class Group:
    """All seeds of one setting in one place."""

    seeds: Sequence[Seed]

    @property
    def case(self) -> Case:
        return self.seeds[0].case

    @property
    def name(self) -> str:
        return f"{self.case.model} {self.case.setting}".strip()

    def values(self, set_name: str, metric: str) -> list[float]:
        """One number a seed; none where the set is empty or the metric has no meaning."""
        role = SETS[set_name]
        return [seed.scores[role][metric] for seed in self.seeds if metric in seed.scores.get(role, {})]

    def mean(self, set_name: str, metric: str) -> Interval | None:
        values = self.values(set_name, metric)
        return over_seeds(values) if values else None

    def minus(self, other: "Group", set_name: str, metric: str) -> Interval | None:
        one, two = self.values(set_name, metric), other.values(set_name, metric)
        return difference(one, two) if one and two else None

    def ratio(self, other: "Group", set_name: str, metric: str) -> Interval | None:
        """Each seed's value over the other's mean."""
        one, two = self.values(set_name, metric), other.values(set_name, metric)
        return over_seeds([value / float(np.mean(two)) for value in one]) if one and two and np.mean(two) else None

    @cached_property
    def losses(self) -> tuple[Floats, Floats]:
        members = np.stack([seed.loss_of_members() for seed in self.seeds])
        return members, np.stack([seed.loss_of_others() for seed in self.seeds])

    @cached_property
    def auc(self) -> Interval:
        return auc_interval(*self.losses)

    @cached_property
    def auc_values(self) -> list[float]:
        return [auc(members, others) for members, others in zip(*self.losses, strict=True)]

    @property
    def has_cpu(self) -> bool:
        return all(seed.cpu_s is not None for seed in self.seeds)

    def seconds(self) -> list[float]:
        """Of the processor where they are known: they count the same on busy cores; else of the clock."""
        return [float(seed.cpu_s) if self.has_cpu and seed.cpu_s is not None else seed.wall_s for seed in self.seeds]


@dataclass(frozen=True, eq=False)
class Place:
    """Everything scored in one place."""

    original: Group
    reference: Group
    unlearned: Sequence[Group]
    most_time: float
    """Largest share of the reference's time that is asked for."""

    @property
    def case(self) -> Case:
        return self.original.case

    def of(self, objective: str) -> list[Group]:
        """All settings of an objective."""
        return [group for group in self.unlearned if group.case.model == objective]

    def named(self, objective: str, setting: str) -> Group | None:
        return next((group for group in self.of(objective) if group.case.setting == setting), None)

    @property
    def objectives(self) -> list[str]:
        return list(dict.fromkeys(group.case.model for group in self.unlearned))

    @cached_property
    def floor(self) -> Interval | None:
        """PSNR between the outputs of two references on the forget set: as near as retraining comes to itself."""
        pairs = [_output_psnr(a, b) for a, b in combinations(self.reference.seeds, 2)]
        return over_seeds(pairs) if pairs else None

    def to_reference(self, group: Group) -> Interval:
        """PSNR between outputs and the references' outputs on the forget set, mean over references, for each seed."""
        return over_seeds(
            [float(np.mean([_output_psnr(seed, other) for other in self.reference.seeds])) for seed in group.seeds]
        )

    def auc_gap(self, group: Group) -> Interval:
        """AUC minus the reference's."""
        return auc_difference(group.losses, self.reference.losses)

    def time_share(self, group: Group) -> Interval:
        """Seconds over the reference's."""
        both = group.has_cpu and self.reference.has_cpu
        own = group.seconds() if both else [seed.wall_s for seed in group.seeds]
        full = self.reference.seconds() if both else [seed.wall_s for seed in self.reference.seeds]
        return over_seeds([value / float(np.mean(full)) for value in own])


def _output_psnr(one: Seed, other: Seed) -> float:
    """PSNR in the hole between two models' outputs, pixels in [0, 1]."""
    a, b = (seed.arrays["forget/hole"].astype(np.float32) for seed in (one, other))
    return float(-10 * np.log10(max(float(((a - b) ** 2).mean()), 1e-10)))


def load(cases: Iterable[Case], store: Store, *, most_time: float) -> list[Place]:
    """What is finished of these cases, by place; places without original or reference are left out."""
    grouped: dict[tuple[str, ...], dict[tuple[str, ...], dict[int, Case]]] = {}
    for case in cases:
        if store.is_done(case.score):
            models = grouped.setdefault(case.place, {})
            models.setdefault((case.model, case.setting, case.retain_images), {})[case.seed] = case
    places = []
    for models in grouped.values():
        groups = [Group([_load(case, store) for case in seeds.values()]) for seeds in models.values()]
        anchors = {group.case.model: group for group in groups if group.case.model in (ORIGINAL, REFERENCE)}
        if len(anchors) == 2:  # noqa: PLR2004
            unlearned = [group for group in groups if group.case.model not in anchors]
            places.append(Place(anchors[ORIGINAL], anchors[REFERENCE], unlearned, most_time))
    return places


def _load(case: Case, store: Store) -> Seed:
    folder = store.path(case.score)
    facts = store.facts(case.trained)
    with np.load(folder / "outputs.npz") as file:
        arrays = {name: file[name] for name in file.files if name == "forget/hole" or name.endswith("/loss")}
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return Seed(case, scores, arrays, facts["wall_s"], facts["cpu_s"])
