"""Checks a run form as a whole, before the first image is read: the pipeline's first step."""

from collections.abc import Iterable, Mapping
from typing import Any

from i2i_unlearn.config.base import StageConfig
from i2i_unlearn.config.sections import (
    CONFIGS,
    EvaluateConfig,
    SharedTrainingConfig,
    SplitConfig,
    SweepConfig,
    TrainJobConfig,
    UnlearnConfig,
)
from i2i_unlearn.data.split.manifest import UNSEEN_TARGET
from i2i_unlearn.evaluation.audits.table import check_audits
from i2i_unlearn.method.objectives import OBJECTIVES, make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.models.operators import OPERATORS
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps.points import points_of

PROMOTE_CHOICES = ("never", "on pass")


def check_form(
    form: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], *, promote: str, accelerator_count: str
) -> dict[str, dict[str, Any]]:
    """Build the config of every stage in `sections` from its settings and the form's fields, and check the choices.

    Args:
        form: The form's fields under the names they have in the config classes.
        sections: The compiled settings of each stage; they win over a field of the same name (`reference` trains by
            the recipe of `pretrain`, whose num_steps is not the form's).
        promote: One of PROMOTE_CHOICES.
        accelerator_count: Whole number as text, as Kubernetes takes it.

    Returns:
        Every stage's settings as they will be used, but for the policies' contents: what the run's record logs.

    Raises:
        UserError: all faults of the form in one line.
    """
    policies = sections["evaluate"]["policies"]
    configs, config_faults = _build({**form, **_processes(accelerator_count)}, sections)
    faults = [
        *config_faults,
        *_choice_fault("objective", form["objective"], OBJECTIVES),
        *_choice_fault("operator", form["operator"], OPERATORS),
        *_choice_fault("gate_policy", form["policy"], policies),
        *_choice_fault("promote", promote, PROMOTE_CHOICES),
        *_accelerator_faults(accelerator_count, form["device"]),
        *_train_job_faults(configs),
        *_audit_faults(configs),
    ]
    if faults:
        raise UserError("; ".join(dict.fromkeys(faults)))  # a shared field is wrong in several stages: say it once
    used = {config.section: config.model_dump(mode="json", exclude={"policies"}) for config in configs}
    for config in configs:
        if isinstance(config, TrainJobConfig) and config.nodes:
            for stage in ("unlearn", "reference"):
                used[stage]["num_processes"] = config.num_processes
    return used


def check_sweep_form(
    form: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], *, accelerator_count: str
) -> list[dict[str, Any]]:
    """Check a sweep's form; return its points, each as what it changes of section `unlearn`.

    Args:
        form: The form's fields under the names they have in the config classes.
        sections: The compiled settings of each stage, `sweep` among them.
        accelerator_count: Whole number as text, as Kubernetes takes it.

    Raises:
        UserError: all faults of the form in one line.
    """
    configs, faults = _build({**form, **_processes(accelerator_count), "show_forget_images": False}, sections)
    found = {config.section: config for config in configs}
    sweep = found.get("sweep")
    points = points_of(sweep) if isinstance(sweep, SweepConfig) else []
    for objective in dict.fromkeys(point.objective for point in points):
        faults += _choice_fault("objectives", objective, OBJECTIVES) or _needs_faults(objective, found)
    faults += [
        *_choice_fault("operator", form["operator"], OPERATORS),
        *_choice_fault("gate_policy", form["policy"], sections["evaluate"]["policies"]),
        *_accelerator_faults(accelerator_count, form["device"]),
    ]
    if faults:
        raise UserError("; ".join(dict.fromkeys(faults)))
    return [point.changes for point in points]


def _needs_faults(objective: str, found: Mapping[str, StageConfig]) -> list[str]:
    """One that needs images which the split does not set aside would stop its points, hours into the sweep."""
    split, unlearn = found.get("split"), found.get("unlearn")
    if not isinstance(split, SplitConfig) or not isinstance(unlearn, UnlearnConfig):
        return []
    settings = Settings(alpha=unlearn.alpha, epsilon=unlearn.epsilon, first_phase=unlearn.first_phase)
    if UNSEEN_TARGET in make_objective(objective, settings).needs and not split.unseen_target_fraction:
        return [
            f"the objective {objective} needs images set aside; set split.unseen_target_fraction above 0 and compile"
        ]
    return []


def _build(form: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> tuple[list[StageConfig], list[str]]:
    """The config of each stage whose settings are right, and the faults of the others."""
    configs, faults = [], []
    for name, settings in sections.items():
        config = CONFIGS[name]
        fields = {field: form[field] for field in config.model_fields if field in form and field not in settings}
        try:
            configs.append(config(**fields, **settings))
        except UserError as error:
            faults.append(str(error))
    return configs, faults


def _choice_fault(field: str, value: str, choices: Iterable[str]) -> list[str]:
    known = list(choices)
    return [] if value in known else [f"{field}={value!r} is not known; choose one of: {', '.join(known)}"]


def _audit_faults(configs: Iterable[StageConfig]) -> list[str]:
    try:
        for config in configs:
            if isinstance(config, EvaluateConfig):
                check_audits(config.audits.run)
    except UserError as error:
        return [str(error)]
    return []


def _train_job_faults(configs: Iterable[StageConfig]) -> list[str]:
    """The nodes share the batch instead of the step's accelerators; a fault of theirs would show after the split."""
    found = {config.section: config for config in configs}
    job = found.get("train_job")
    if not isinstance(job, TrainJobConfig) or not job.nodes:
        return []
    faults = []
    for config in found.values():
        if isinstance(config, SharedTrainingConfig) and config.batch_size % job.num_processes:
            faults.append(
                f"{config.section}.batch_size={config.batch_size} is not a multiple of the TrainJob's"
                f" {job.num_processes} processes; change train_job_nodes or train_job_gpus"
            )
        if isinstance(config, SharedTrainingConfig) and config.device == "cpu" and job.gpus_per_node:
            faults.append(
                f"train_job_gpus={job.gpus_per_node} but device=cpu would leave them idle; set device to auto"
            )
    return faults


def _processes(accelerator_count: str) -> dict[str, int]:
    """One process for each accelerator; what is no number is told by `_accelerator_faults`."""
    return {"num_processes": int(accelerator_count) if accelerator_count.isdecimal() else 1}


def _accelerator_faults(count: str, device: str) -> list[str]:
    if not count.isdecimal():
        return [f"accelerator_count={count!r} is not a whole number; use 0 for none"]
    if int(count) and device == "cpu":
        return [f"accelerator_count={count} but device=cpu would leave it idle; set device to cuda"]
    return []
