"""The estimate of a run of the compiled pipeline, before it is submitted."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2i_unlearn.method.adapters import LORA
from i2i_unlearn.method.objectives import make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.models import family_named, load_architecture
from i2i_unlearn.models.operators import Operator, make_operator
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.pipeline.cost import CPU, GPU, Device, Training, estimate, size, told
from i2i_unlearn.pipeline.counting import count
from i2i_unlearn.pipeline.local.runner import form_fields
from i2i_unlearn.support.errors import UserError

UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
"""Of Kubernetes' quantities."""


def of_package(spec: Mapping[str, Any], arguments: Mapping[str, Any], params: Mapping[str, Any] | None) -> list[str]:
    """Lines for people about `unlearn` and `reference` with these arguments of the run form.

    The model is the one that the field `model` names, if it is a folder here; else one as `params`, the content of
    params.yaml, describes it.

    Raises:
        UserError: neither is here, or the package has no step `unlearn`.
    """
    form: dict[str, Any] = {name: field.get("defaultValue") for name, field in form_fields(spec).items()}
    form |= arguments
    unlearning, retraining = (_settings(spec, step) for step in ("unlearn", "reference"))
    if not unlearning or "objective" not in form:
        raise UserError("--estimate is for pipelines/unlearning.yaml: this package has no step `unlearn`")
    model, described = _model(str(form["model"]), params)
    operator = make_operator(form["operator"], form["keep_fraction"], int(unlearning["operator_patch_size"]))
    device = _device(form)
    head = f"an estimate, not a measurement (speed: {device.source}), for {described}, {_pixels(model)}"
    return [
        head,
        *_unlearn(model, operator, form, unlearning, device),
        *(_reference(model, operator, form, retraining, device) if form["reference"] == "retrain" else ()),
        "loading, evaluation and the other steps come on top",
    ]


def _unlearn(
    model: Any, operator: Operator, form: Mapping[str, Any], settings: Mapping[str, Any], device: Device
) -> list[str]:
    scope: Any = settings.get("scope", "auto")
    objective = make_objective(
        form["objective"],
        Settings(alpha=form["alpha"], scope="encoder" if scope == LORA else scope, epsilon=form["epsilon"]),
    )
    training = Training(
        num_steps=int(form["num_steps"]),
        batch_size=int(settings["batch_size"]),
        num_sets=2,
        num_models=2,
        cache_bytes=int(settings["cache_bytes"]),
        num_processes=_processes(form),
    )
    found = estimate(count(model, operator, whole=objective.scope == "all"), training, device)
    lines = told("unlearn", training, found, device)
    limit = quantity(str(form["memory"]))
    if device is CPU and limit is not None and found.bytes > limit:
        lines.append(f"unlearn: more than the field memory allows ({size(limit)}); raise it")
    return lines


def _reference(
    model: Any, operator: Operator, form: Mapping[str, Any], settings: Mapping[str, Any], device: Device
) -> list[str]:
    training = Training(
        num_steps=int(settings["num_steps"]),
        batch_size=int(settings["batch_size"]),
        num_sets=1,
        num_models=2,
        num_processes=_processes(form),
    )
    return told("reference", training, estimate(count(model, operator, whole=True), training, device), device)


def _device(form: Mapping[str, Any]) -> Device:
    """Where it is computed; with `auto` on what the pods are given."""
    if form["device"] != "auto":
        return CPU if form["device"] == "cpu" else GPU
    if int(form.get("train_job_nodes") or 0):
        return GPU if int(form["train_job_gpus"]) else CPU
    return CPU if str(form.get("accelerator_count", "0")).strip() in ("", "0") else GPU


def _processes(form: Mapping[str, Any]) -> int:
    """One for each accelerator of the pod, or of all nodes of a training job."""
    if nodes := int(form.get("train_job_nodes") or 0):
        return nodes * max(int(form["train_job_gpus"]), 1)
    count = str(form.get("accelerator_count", "0"))
    return max(int(count), 1) if count.isdecimal() else 1


def quantity(text: str) -> float | None:
    """Bytes of a quantity of Kubernetes such as 4Gi; None if it is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kMGT]?i?)", text.strip())
    return float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else None


def _settings(spec: Mapping[str, Any], step: str) -> Mapping[str, Any]:
    """What was compiled into a step beside the run form's fields."""
    for component in spec["components"].values():
        task = component.get("dag", {}).get("tasks", {}).get(step)
        if task:
            constant: Mapping[str, Any] = task["inputs"]["parameters"]["settings"]["runtimeValue"]["constant"]
            return constant
    return {}


def _model(named: str, params: Mapping[str, Any] | None) -> tuple[Any, str]:
    generator = generator_for(0, "estimate")
    if (Path(named) / "config.json").is_file():
        return load_architecture(named, generator=generator), named
    if params is None:
        raise UserError(
            f"--estimate: {named} is no model directory here, and there is no params.yaml whose section pretrain "
            "describes one; run this in the project's folder, or name a directory with --param model=FOLDER"
        )
    recipe = params["pretrain"]
    family = family_named(recipe["family"], params.get("model", ""))
    model = family.create(
        recipe["architecture"],
        image_size=recipe["image_size"],
        num_channels=recipe["num_channels"],
        generator=generator,
    )
    return model, f"a model as section pretrain of params.yaml has it ({recipe['family']}; {named} is not here)"


def _pixels(model: Any) -> str:
    height, width = model.image_size
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return f"{height} x {width} px, {millions:.1f} million weights"
