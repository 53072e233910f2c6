"""What a compiled pipeline contains of params.yaml, and the page that describes its form. Imports no torch."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i_unlearn.config.base import SHARED_KEYS, StageConfig
from i2i_unlearn.config.sections import CONFIGS, ClusterConfig, load_params
from i2i_unlearn.pipeline.local.runner import PIPELINES, compile_pipeline, form_fields, read_package
from i2i_unlearn.support.errors import UserError

STAGES = ("split", "snapshot", "unlearn", "reference", "evaluate", "register", "promote", "cluster")
"""Sections that the steps of the pipeline `unlearning` read."""
SWEEP_STAGES = ("split", "snapshot", "unlearn", "reference", "evaluate", "sweep", "register", "cluster")


def compiled(params: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """What a pipeline takes along of params.yaml. Device and checkpoints are those of the cluster.

    Raises:
        UserError: all faults of these sections.
    """
    cluster = ClusterConfig.from_params(params)
    here = {**params, "device": cluster.device, "checkpoint_uri": cluster.checkpoint_uri}
    _, faults = build_configs(here, stages)
    refuse(faults)
    return {key: here[key] for key in (*SHARED_KEYS, "pretrain", *stages) if key in here}


def build_configs(params: Mapping[str, Any], stages: Iterable[str]) -> tuple[dict[str, StageConfig], list[str]]:
    """The config of each stage whose settings are right, and the faults of the others."""
    found: dict[str, StageConfig] = {}
    faults: list[str] = []
    for name in stages:
        more: dict[str, Any] = {"policies": {}} if name == "evaluate" else {}
        try:
            found[name] = CONFIGS[name].from_params(params, **more)
        except UserError as error:
            faults += error.faults
    return found, faults


def refuse(faults: Iterable[str]) -> None:
    """Raise if there are any. A shared field is wrong in several stages: it is told once."""
    if told := list(dict.fromkeys(faults)):
        raise UserError(*told)


def carried(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of params.yaml that a compiled package holds, as a constant of its first step; empty without any."""
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            for given in task.get("inputs", {}).get("parameters", {}).values():
                constant = given.get("runtimeValue", {}).get("constant")
                if isinstance(constant, dict) and "cluster" in constant:
                    return constant
    return {}


def out_of_date(package: Path, folder: Path) -> list[str]:
    """A line if `package`, one of the checkout `folder`, is not what compiling gives now; none if that is refused."""
    name = package.stem
    if name not in PIPELINES or package.resolve() != (folder / f"pipelines/{name}.yaml").resolve():
        return []
    with tempfile.TemporaryDirectory() as aside:
        try:
            compile_pipeline(Path(aside) / package.name, folder, name)
        except UserError:
            return []
        before, now = read_package(package), read_package(Path(aside) / package.name)
    if all(before[part] == now[part] for part in ("root", "components")):
        return []
    changed = ", ".join(_changed(carried(before), carried(now))) or "policies or steps"
    return [f"{package} is older than the settings here ({changed}); to use these, run: i2i-unlearn pipeline compile"]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changed(old, new, f"{place}{key}.")
        elif old != new:
            yield f"{place}{key}: {old} there, {new} here"


def warnings_of(sections: Mapping[str, Any]) -> list[str]:
    """What to tell a person who compiles or submits a pipeline with these sections. A sweep shows no forget images."""
    if "sweep" in sections or not sections.get("evaluate", {}).get("show_forget_images"):
        return []
    return [
        "show_forget_images is true: reports of this pipeline show forget images; "
        "for personal data, set it to false in params.yaml and compile"
    ]


def write_form_page(page: Path, package: Path, params: Path) -> None:
    """Write `form_page` of a compiled package and of the params.yaml that it was compiled with."""
    page.write_text(form_page(read_package(package), load_params(params)), encoding="utf-8")


def form_page(spec: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """The page docs/run_form.md: the fields of the compiled pipeline, and the keys of the section `cluster`."""
    fields = [
        (f"`{name}`", _shown(field["defaultValue"]), field["description"]) for name, field in form_fields(spec).items()
    ]
    cluster = ClusterConfig.from_params(params)
    keys = [
        (f"`{key}`", _shown(getattr(cluster, key)), str(info.description))
        for key, info in ClusterConfig.model_fields.items()
    ]
    return PAGE.format(name=spec["pipelineInfo"]["name"], fields=_table("field", fields), keys=_table("key", keys))


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text}`" if value not in ("", {}, []) else "(empty)"


def _table(head: str, rows: Iterable[tuple[str, str, str]]) -> str:
    lines = [f"| {name} | {value} | {' '.join(text.split())} |" for name, value, text in rows]
    return "\n".join([f"| {head} | default | meaning |", "| --- | --- | --- |", *lines])


PAGE = """\
# The run form

Made by `i2i-unlearn pipeline compile`; do not edit. The fields of the Kubeflow pipeline `{name}`, as Kubeflow shows
them when a run is started, and as `--param field=value` sets them on the command line. Text must not hold double quotes
or backslashes: Kubeflow puts it into JSON as it is.

{fields}

## What a cluster fixes once

These keys are in the section `cluster` of params.yaml. They are read when the pipeline is compiled, as are all other
settings that are not on the form (`keep_fraction`, `unlearn.epsilon`, `evaluate.show_forget_images` and so on): change
them there and run `i2i-unlearn pipeline compile`. The digest of the model is found by the first step and recorded.

{keys}
"""
