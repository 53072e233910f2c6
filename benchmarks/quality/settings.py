"""settings.yaml, typed; and the sections of params.yaml with it laid over."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from i2i_unlearn.config.sections import load_params
from i2i_unlearn.support.errors import UserError

PATH = Path(__file__).with_name("settings.yaml")
PAPER = Path(__file__).parents[2] / "presets/paper.yaml"
Values = dict[str, Any]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wanted(_Frozen):
    """Which images a request names."""

    labels: tuple[str, ...] = ()
    num_singles: int = 0
    """That many single training images of any class, drawn by their bytes."""


class DataSet(_Frozen):
    source: str
    scored_images: int
    label_classifier: bool
    """Whether a classifier trained on the real images can name the completions."""
    params: Values = {}
    """Laid over the shared keys of params.yaml."""
    split: Values = {}
    develop: str
    requests: dict[str, Wanted]
    proxy_labels: tuple[str, ...] = ()
    limit: int = 0
    """Most images; 0 = all."""
    most_time: float = 0.25
    """Largest share of the reference's time that unlearning may take."""


class Grid(_Frozen):
    vary: str
    """Key of the section unlearn."""
    values: tuple[float, ...]
    with_: Values = {}

    def settings(self, objective: str) -> list[Values]:
        """What each point of the grid lays over the section unlearn."""
        return [{"objective": objective, **self.with_, self.vary: value} for value in self.values]


class Recipe(_Frozen):
    """A family on a data set."""

    pretrain: Values = {}
    unlearn: Values = {}
    trains_on: Values = {}
    loss_draws: int = 1
    objectives: dict[str, Values] = {}
    """Grids that differ from the common ones."""


class Settings(_Frozen):
    data: dict[str, DataSet]
    operators: dict[str, Values]
    recipes: dict[str, dict[str, Recipe]]
    objectives: dict[str, Grid]
    contenders: tuple[str, ...]
    """Objectives that are confirmed with all seeds on every request and operator; the others with the first seed."""
    retain_images: dict[str, dict[str, tuple[Values, ...]]]
    """Objective -> kind of images -> what to try, laid over the setting chosen on real images."""
    params: Values
    """Content of params.yaml."""

    @property
    def main_operator(self) -> str:
        return next(iter(self.operators))

    def grid(self, family: str, data: str, objective: str) -> Grid:
        """The grid of an objective: the recipe's, else the common one, else a single point."""
        own = self.recipes[family][data].objectives.get(objective)
        common = self.objectives.get(objective, Grid(vary="alpha", values=(self.params["unlearn"]["alpha"],)))
        return common if own is None else Grid(**_with({**common.model_dump(), **_with(own)}))

    def sections(self, family: str, data: str, operator: Values, **more: Values) -> Values:
        """params.yaml for one family, data set and operator; `more` is laid over its sections last."""
        recipe = self.recipes[family][data]
        sections = laid_over(self.params, {**self.data[data].params, **operator})
        sections = laid_over(sections, {"pretrain": {"family": family, **recipe.pretrain}, "unlearn": recipe.unlearn})
        sections = laid_over(sections, {"split": {"requests": [], **self.data[data].split}})
        sections["pretrain"]["architecture"] = self._architecture(recipe, family)
        return laid_over(sections, more)

    def _architecture(self, recipe: Recipe, family: str) -> Values:
        """params.yaml's sizes are those of its own family."""
        own = dict(recipe.pretrain.get("architecture", {}))
        pretrain = self.params["pretrain"]
        return {**pretrain["architecture"], **own} if family == pretrain["family"] else own


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Values:
    """`base` with `changes` laid over it, mapping by mapping."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = laid_over(result[key], value) if nested else copy.deepcopy(value)
    return result


def _with(grid: Mapping[str, Any]) -> Values:
    """`with` is a word of Python's own."""
    return {"with_" if key == "with" else key: value for key, value in grid.items()}


REPLACED = ("operators", "objectives")
"""Sections that the tiny preset replaces as a whole, as it does a data set's requests."""


def _paper() -> Values:
    """The published method's settings, from which every objective of the benchmark starts."""
    return {
        name: section
        for name, section in yaml.safe_load(PAPER.read_text(encoding="utf-8")).items()
        if isinstance(section, dict)
    }


def load_settings(path: str | Path = PATH, params: str | Path = "params.yaml", *, tiny: bool = False) -> Settings:
    """Read both files.

    Raises:
        UserError: keys are missing, unknown or wrong.
    """
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    changes = content.pop("tiny")
    if tiny:
        for name, data in changes["data"].items():
            content["data"][name]["requests"] = data["requests"]
        for section in REPLACED:
            content[section] = changes[section]
        content = laid_over(content, changes)
    content["objectives"] = {name: _with(grid) for name, grid in content["objectives"].items()}
    try:
        return Settings(**content, params=laid_over(load_params(params), _paper()))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UserError(f"{path}: {faults}") from None
