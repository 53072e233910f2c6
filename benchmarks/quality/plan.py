"""Which cells a benchmark consists of.

First round: for each family and objective the whole grid, on the request for development, the main operator and the
first seed. Then a setting is chosen for each objective (tables.choose), and the second round computes that setting
alone: with the other seeds, on the other requests and operators, and with other images in place of the retain set. So
nothing is chosen on the requests and seeds that confirm. References are always computed with all seeds; away from the
request for development only the contenders named in settings.yaml are.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.cells import Cell
from benchmarks.quality.code_digest import PACKAGE, code_digest, file_of
from benchmarks.quality.settings import DataSet, Settings, Values
from benchmarks.quality.sources import Source
from i2i_unlearn.config.base import StageConfig
from i2i_unlearn.config.sections import PretrainConfig, ReferenceConfig, SplitConfig, UnlearnConfig
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.models import FAMILIES

TEACHER_SEED = 0  # there is one deployed model
REFERENCE_OFFSET = 1000  # a reference must not start from the teacher's initial weights
ORIGINAL, REFERENCE = "original", "reference"
REAL = "real"
MAIN_STUDY, RETAIN_STUDY = "main", "retain images"
SCORING = tuple(Path(__file__).with_name(name) for name in ("scoring.py", "feature_scores.py"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One model to score: what a row of the tables is about."""

    data: str
    family: str
    operator: str
    request: str
    model: str
    """original | reference | name of an objective"""
    setting: str
    """For people, e.g. `alpha 0.25`; empty for original and reference."""
    study: str
    """main | retain images (which compares substitutes for the retain set)"""
    retain_images: str
    """real | proxy | ..."""
    seed: int
    trained: Cell
    """The model's cell."""
    score: Cell
    changes: Values
    """Laid over the section unlearn."""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Models of the same place are compared with each other."""
        return (self.family, self.operator, self.request, self.study)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user asked for."""

    families: Sequence[str]
    objectives: Sequence[str]
    operators: Sequence[str]
    requests: Sequence[str]
    seeds: Sequence[int]
    device: str
    chosen_on: str
    """The request for development."""


class Plan:
    """Makes the cells of one data set."""

    def __init__(self, settings: Settings, source: Source, selection: Selection) -> None:
        self.settings = settings
        self.source = source
        self.selection = selection
        self.data: DataSet = settings.data[source.name]

    def first_round(self) -> list[Case]:
        """Grids on the request for development and the main operator."""
        here = self.settings.main_operator
        if here not in self.selection.operators or self.selection.chosen_on not in self.selection.requests:
            return []
        cases = []
        for family in self.selection.families:
            cases += self.anchors(family, here, self.selection.chosen_on)
            for objective in self.selection.objectives:
                grid = self.settings.grid(family, self.source.name, objective)
                for changes in grid.settings(objective):
                    cases += self.unlearned(family, here, self.selection.chosen_on, changes, self.selection.seeds[:1])
        return cases

    def second_round(self, chosen: Mapping[tuple[str, str], Values]) -> list[Case]:
        """`chosen`: (family, objective) -> the setting to confirm."""
        cases = []
        all_seeds = self.selection.seeds
        for family in self.selection.families:
            own = {objective: changes for (of, objective), changes in chosen.items() if of == family}
            for changes in own.values():
                cases += self.unlearned(
                    family, self.settings.main_operator, self.selection.chosen_on, changes, all_seeds
                )
            for operator, request in self._other_places():
                cases += self.anchors(family, operator, request)
                for objective, changes in own.items():
                    seeds = all_seeds if objective in self.settings.contenders else all_seeds[:1]
                    cases += self.unlearned(family, operator, request, changes, seeds)
            cases += self._other_retain_images(family, chosen)
        return cases

    def _other_places(self) -> Iterator[tuple[str, str]]:
        main, develop = self.settings.main_operator, self.selection.chosen_on
        yield from ((main, request) for request in self.selection.requests if request != develop)
        yield from ((operator, develop) for operator in self.selection.operators if operator != main)

    def _other_retain_images(self, family: str, chosen: Mapping[tuple[str, str], Values]) -> list[Case]:
        """Real, proxy and so on, all scored on the classes that none of them takes as proxies."""
        here, request = self.settings.main_operator, self.selection.chosen_on
        objectives = [name for name in self.settings.retain_images if (family, name) in chosen]
        if not objectives or not self.data.proxy_labels:
            return []
        cases = self.anchors(family, here, request, proxies=True)
        for objective in objectives:
            for kind, settings in self.settings.retain_images[objective].items():
                for changes in settings:
                    both = {**chosen[family, objective], **changes}
                    cases += self.unlearned(
                        family, here, request, both, self.selection.seeds[:1], retain_images=kind, proxies=True
                    )
        return cases

    def anchors(self, family: str, operator: str, request: str, *, proxies: bool = False) -> list[Case]:
        """The teacher, and the references of all seeds."""
        teacher = self.teacher(family, operator)
        split = self.split(request)
        more = {"retain_images": REAL, "proxies": proxies}
        cases = [self._case(family, operator, request, ORIGINAL, "", TEACHER_SEED, teacher, {}, **more)]
        for seed in self.selection.seeds:
            cell = self.reference(family, operator, request, split, teacher, seed)
            cases.append(self._case(family, operator, request, REFERENCE, "", seed, cell, {}, **more))
        return cases

    def unlearned(
        self,
        family: str,
        operator: str,
        request: str,
        changes: Values,
        seeds: Sequence[int],
        *,
        retain_images: str = REAL,
        proxies: bool = False,
    ) -> list[Case]:
        """One setting of an objective with each of these seeds."""
        objective = changes["objective"]
        same = self.settings.grid(family, self.source.name, objective).with_
        varied = {key: value for key, value in changes.items() if key not in same and _is_number(value)}
        setting = ", ".join(f"{key} {value:g}" for key, value in varied.items())
        split, teacher = self.split(request, proxies=proxies), self.teacher(family, operator)
        code = code_digest("stages/unlearn.py", file_of(_module(FAMILIES[family])), _file_of_objective(objective))
        cases = []
        for seed in seeds:
            config = UnlearnConfig.from_params(self._sections(family, operator, seed, unlearn=changes))
            label = f"{self._place(family, operator, request)} {objective} {setting} {retain_images}, seed {seed}"
            content = {"config": _content(config), "images": self.source.image_digest}
            cell = Cell("unlearn", label, content, code, {"splits": split, "teacher": teacher}, family)
            more = {"retain_images": retain_images, "proxies": proxies}
            cases.append(self._case(family, operator, request, objective, setting, seed, cell, changes, **more))
        return cases

    def split(self, request: str, *, proxies: bool = False) -> Cell:
        """Roles of all images; with `proxies`, some classes of the retain set are the proxy set."""
        labels = list(self.data.proxy_labels) if proxies else []
        changes = {"requests": [request], "proxy_labels": labels}
        sections = self.settings.sections(self.selection.families[0], self.source.name, {}, split=changes)
        content = {
            "config": _content(SplitConfig.from_params(sections)),
            "images": self.source.image_digest,
            "request": self.source.request_bytes[request],
        }
        return Cell("split", f"{self.source.name} split for {request}", content, code_digest("stages/split.py"))

    def teacher(self, family: str, operator: str) -> Cell:
        """The deployed model, trained on every training image."""
        config = PretrainConfig.from_params(self._trained(family, operator))
        content = {"config": _content(config), "images": self.source.image_digest}
        code = code_digest("stages/pretrain.py", file_of(_module(FAMILIES[family])))
        return Cell("teacher", f"{self.source.name} {family} {operator} teacher", content, code, family=family)

    def reference(self, family: str, operator: str, request: str, split: Cell, teacher: Cell, seed: int) -> Cell:
        """Retrained without the forget set."""
        changes = {"count": 1, "seed_offset": REFERENCE_OFFSET + seed}
        config = ReferenceConfig.from_params(self._trained(family, operator, reference=changes))
        content = {"config": _content(config), "images": self.source.image_digest}
        code = code_digest("stages/reference.py", file_of(_module(FAMILIES[family])))
        label = f"{self._place(family, operator, request)} reference, seed {seed}"
        return Cell("reference", label, content, code, {"splits": split, "teacher": teacher}, family)

    def _case(
        self,
        family: str,
        operator: str,
        request: str,
        model: str,
        setting: str,
        seed: int,
        trained: Cell,
        changes: Values,
        *,
        retain_images: str,
        proxies: bool,
    ) -> Case:
        content = {
            "operator": self.settings.operators[operator],
            "operator_patch_size": self._sections(family, operator, TEACHER_SEED)["operator_patch_size"],
            "scored_images": self.data.scored_images,
            "label_classifier": self.data.label_classifier,
            "loss_draws": self.settings.recipes[family][self.source.name].loss_draws,
            "extractor": "efficientnet_lite0",
            "device": self.selection.device,
            "images": self.source.image_digest,
        }
        label = f"scores of {trained.label}" + (f" on {request}" if model == ORIGINAL else "")
        inputs = {"splits": self.split(request, proxies=proxies), "model": trained}
        code = code_digest(
            "evaluation/metrics/observe.py", *_METRICS, file_of(_module(FAMILIES[family])), beside=SCORING
        )
        return Case(
            data=self.source.name,
            family=family,
            operator=operator,
            request=request,
            model=model,
            setting=setting,
            study=RETAIN_STUDY if proxies else MAIN_STUDY,
            retain_images=retain_images,
            seed=seed,
            trained=trained,
            score=Cell("score", label, content, code, inputs, family),
            changes=changes,
        )

    def _sections(self, family: str, operator: str, seed: int, **more: Values) -> Values:
        own = {**self.settings.operators[operator], "seed": seed, "device": self.selection.device}
        return self.settings.sections(family, self.source.name, own, **more)

    def _trained(self, family: str, operator: str, **more: Values) -> Values:
        """For teacher and reference, which may be trained with another operator than is scored."""
        return {
            **self._sections(family, operator, TEACHER_SEED, **more),
            **self.settings.recipes[family][self.source.name].trains_on,
        }

    def _place(self, family: str, operator: str, request: str) -> str:
        return f"{self.source.name} {family} {operator} {request}"


_METRICS = tuple(
    f"evaluation/metrics/{name}.py"
    for name in ("feature_cosine", "hole_psnr", "kernel_distance", "output_spread", "own_loss")
)


def _content(config: StageConfig) -> Values:
    return config.model_dump(mode="json", exclude=set(config.not_in_digest))


def _module(dotted: str) -> str:
    return dotted.partition(":")[0]


def _file_of_objective(name: str) -> str:
    made: Any = OBJECTIVES[name]
    module = _module(made) if isinstance(made, str) else inspect.getmodule(made).__name__  # type: ignore[union-attr]
    path = file_of(module)
    if not (PACKAGE / path).is_file() or path == "method/objectives/__init__.py":
        return f"method/objectives/{name}.py"
    return path


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
