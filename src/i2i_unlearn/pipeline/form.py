"""The run form: turns it into the settings of every step, before the first image is read.

A form is laid over the compiled params.yaml: each field has the key of the value that it replaces (`unlearn.alpha`).
What comes out is one dict with a section per stage, from which every step builds its own config.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i_unlearn.config.base import StageConfig, as_ids
from i2i_unlearn.config.sections import (
    ClusterConfig,
    EvaluateConfig,
    ReferenceConfig,
    SplitConfig,
    SweepConfig,
    UnlearnConfig,
)
from i2i_unlearn.data.split.manifest import UNSEEN_TARGET
from i2i_unlearn.evaluation.audits.table import check_audits
from i2i_unlearn.method.objectives import OBJECTIVES, make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.models.directory import read_config
from i2i_unlearn.models.operators import OPERATORS
from i2i_unlearn.pipeline.compiled import STAGES, SWEEP_STAGES, build_configs, refuse
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder
from i2i_unlearn.sweeps.points import point_configs, points_of

PROMOTE_CHOICES = ("never", "on pass")
AllSettings = dict[str, dict[str, Any]]


def check_form(form: Mapping[str, Any], params: Mapping[str, Any], **more: Any) -> AllSettings:
    """`read_form`, and the digest of the model as it is now, which the step `snapshot` then expects.

    Raises:
        UserError: the form has faults, or the model is not the one whose digest params.yaml holds.
    """
    settings = read_form(form, params, **more)
    settings["snapshot"]["sha256"] = _model_sha256(settings["snapshot"], params["snapshot"])
    return settings


def read_form(
    form: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    accelerator_count: str,
    policies: Iterable[str],
    promote: str = PROMOTE_CHOICES[0],
    stages: Sequence[str] = STAGES,
) -> AllSettings:
    """Check the form as a whole; return the settings of every stage in `stages`: what the run's record logs.

    Args:
        form: Values by the key that they replace in params.yaml (`unlearn.alpha`, `seed`), and `images`. Numbers may
            be text.
        params: As `compiled.compiled` made it.
        accelerator_count: Whole number as text, as Kubernetes takes it.
        policies: Names of the policies. Their contents are not among the settings.
        promote: One of PROMOTE_CHOICES.
        stages: Sections that the steps of the pipeline read.

    Raises:
        UserError: all faults of the form in one line.
    """
    found, faults = build_configs(_laid_over(params, form), stages)
    objectives, field = [str(form.get("unlearn.objective"))], "objective"
    if "sweep" in stages:
        objectives, field = getattr(found.get("sweep"), "objectives", []), "objectives"
    refuse(
        [
            *faults,
            *_blank_faults(form),
            *(fault for name in objectives for fault in _objective_faults(field, name, found)),
            *_erased_faults(form, params),
            *_choice_faults("operator", form["operator"], OPERATORS),
            *_choice_faults("gate_policy", form["evaluate.policy"], policies),
            *_choice_faults("promote", promote, PROMOTE_CHOICES),
            *_hardware_faults(found, accelerator_count),
            *_audit_faults(found),
        ]
    )
    used = {name: config.model_dump(mode="json", exclude={"policies"}) for name, config in found.items()}
    for stage in ("unlearn", "reference"):
        used[stage]["num_processes"] = _processes(found["cluster"], accelerator_count)[0]
    return used


def check_unlearning_form(
    form: Mapping[str, Any], params: Mapping[str, Any], **more: Any
) -> tuple[AllSettings, list[AllSettings]]:
    """Check the form as `check_form` does; return the settings, and those of each reference's step, at least one."""
    settings = check_form(form, params, **more)
    config = ReferenceConfig(**settings["reference"])
    parts = config.parts() or [config]  # Kubeflow does not finish a loop over nothing
    return settings, [{**settings, "reference": part.model_dump(mode="json")} for part in parts]


def check_sweep_form(
    form: Mapping[str, Any], params: Mapping[str, Any], *, accelerator_count: str, policies: Iterable[str]
) -> tuple[AllSettings, list[AllSettings]]:
    """Check a sweep's form as `check_form` does; return the settings, and those of unlearn and evaluate per point."""
    given: dict[str, Any] = {"accelerator_count": accelerator_count, "policies": policies, "stages": SWEEP_STAGES}
    settings = check_form(form, params, **given)
    whole = {**settings, "evaluate": {**settings["evaluate"], "policies": {}}}
    points = points_of(SweepConfig(**settings["sweep"]))
    return settings, [
        {
            config.section: config.model_dump(mode="json", exclude={"policies"})
            for config in point_configs(point.changes, whole)
        }
        for point in points
    ]


def _laid_over(params: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in params.items()}
    for place, value in form.items():
        if place == "images":  # what the stages are given, no section
            continue
        section, _, key = place.rpartition(".")
        (result[section] if section else result)[key] = value
    return result


def _blank_faults(form: Mapping[str, Any]) -> list[str]:
    """`images` is no setting, so no section checks it; a package of an earlier version does not hand it over."""
    blank = not str(form.get("images", "not handed over")).strip()
    return ["images is blank; give the folder or URI of the image shards"] if blank else []


def _erased_faults(form: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Images of a request that the form leaves out would be used again."""
    named = [*as_ids(form["split.erased"]), *as_ids(form["split.requests"])]
    lost = [id_ for id_ in as_ids(params["split"]["erased"]) if id_ not in named]
    told = f"erased={form['split.erased']!r} leaves out {', '.join(lost)}, which params.yaml names as erased"
    return [f"{told}: their images would be used again; add them"] if lost else []


def _choice_faults(field: str, value: str, choices: Iterable[str]) -> list[str]:
    known = list(choices)
    return [] if value in known else [f"{field}={value!r} is not known; choose one of: {', '.join(known)}"]


def _objective_faults(field: str, objective: str, found: Mapping[str, StageConfig]) -> list[str]:
    """One that needs images which the split does not set aside would stop the run after the split."""
    split, unlearn = found.get("split"), found.get("unlearn")
    if objective not in OBJECTIVES or not isinstance(split, SplitConfig) or not isinstance(unlearn, UnlearnConfig):
        return _choice_faults(field, objective, OBJECTIVES)
    settings = Settings(alpha=unlearn.alpha, epsilon=unlearn.epsilon, first_phase=unlearn.first_phase)
    if UNSEEN_TARGET in make_objective(objective, settings).needs and not split.unseen_target_fraction:
        return [f"the objective {objective} needs images set aside; set split.unseen_target_fraction above 0, compile"]
    return []


def _processes(cluster: StageConfig | None, accelerator_count: str) -> tuple[int, str]:
    """How many processes share each batch, and what says so."""
    if isinstance(cluster, ClusterConfig) and cluster.num_processes:
        nodes, gpus = cluster.train_job_nodes, cluster.train_job_gpus
        return cluster.num_processes, f"cluster.train_job_nodes={nodes}, cluster.train_job_gpus={gpus}"
    count = int(accelerator_count) if accelerator_count.isdecimal() else 1
    return max(count, 1), f"accelerator_count={accelerator_count}"


def _hardware_faults(found: Mapping[str, StageConfig], accelerator_count: str) -> Iterator[str]:
    """A batch that cannot be shared, and accelerators that nothing would use."""
    if not accelerator_count.isdecimal():
        yield f"accelerator_count={accelerator_count!r} is not a whole number; use 0 for none"
    cluster = found.get("cluster")
    number, said = _processes(cluster, accelerator_count)
    for stage in ("unlearn", "reference"):
        batch_size = getattr(found.get(stage), "batch_size", number)
        if batch_size % number:
            yield f"{stage}.batch_size={batch_size} is not a multiple of {number} processes ({said}); change one"
    if not isinstance(cluster, ClusterConfig) or cluster.device != "cpu":
        return
    remedy = "cluster.device=cpu leaves them idle; set it to auto in params.yaml and compile"
    if accelerator_count.isdecimal() and int(accelerator_count):
        yield f"accelerator_count={accelerator_count}, but {remedy}, or set accelerator_count to 0"
    if cluster.train_job_nodes and cluster.train_job_gpus:
        yield f"cluster.train_job_gpus={cluster.train_job_gpus}, but {remedy}, or set train_job_gpus to 0"


def _audit_faults(found: Mapping[str, StageConfig]) -> list[str]:
    try:
        if isinstance(evaluate := found.get("evaluate"), EvaluateConfig):
            check_audits(evaluate.audits.run)
    except UserError as error:
        return [*error.faults]
    return []


def _model_sha256(snapshot: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Empty where it cannot be told yet. What params.yaml expects is about its own model, not about another one."""
    source, expected = snapshot["source"], snapshot["sha256"] if snapshot["source"] == before["source"] else ""
    found = _digest_of(source)
    if expected and found and expected != found:
        raise UserError(f"snapshot.sha256={expected}, but {source} has {found}; fetch the model again or correct it")
    return found or expected


def _digest_of(source: str) -> str:
    """Empty where there is no such model or it is not pinned; `snapshot` says why."""
    try:
        if source.startswith("models:"):
            name, _, number = source.removeprefix("models:/").partition("/")
            return _digest_of_version(name, number) if number.isdecimal() else ""
        if Path(source).is_file():
            return digest_file(source)
        read_config(source)  # refuses what is not a model directory
        return digest_folder(source)
    except UserError:
        return ""


def _digest_of_version(name: str, number: str) -> str:
    from i2i_unlearn.registry import tracking  # imports mlflow

    with tracking.connect() as server:
        return server.version(name, number).tags.get("model_sha256", "")
