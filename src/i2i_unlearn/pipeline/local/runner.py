"""Compiles the pipelines, and runs a compiled pipeline on this machine.

kfp.local 2.17 runs the whole package: exit handler, conditions, loops and what is collected of them, nested DAGs,
artifacts with metadata. Two items of a loop run in parallel, and after one has failed the others are finished first.
What a package says about pods (memory, volumes, secrets; image and accelerators, unless the steps run in containers)
has no meaning here and is ignored.
Retries are removed: a failure on one machine is not an evicted pod and would only happen again after the back-off.
"""

import builtins
import contextlib
import dataclasses
import difflib
import importlib
import math
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from i2i_unlearn.config.base import MOST_EXACT
from i2i_unlearn.pipeline.local.containers import Containers, docker_runner, hand_over
from i2i_unlearn.pipeline.local.processes import process_runner
from i2i_unlearn.pipeline.local.run_log import RunLog
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json
from i2i_unlearn.support.package_data import package_data

PIPELINES = ("unlearning", "sweep", "registry_check")
"""A module of the folder pipelines/, and the pipeline function in it, has one of these names."""
NVIDIA = "nvidia.com/gpu"
"""Kubernetes' name for the GPUs that Docker can give to a container."""
_KINDS: dict[str, tuple[Callable[[str], Any], type, str]] = {
    "STRING": (str, str, "text"),
    "NUMBER_INTEGER": (int, int, "a whole number"),
    "NUMBER_DOUBLE": (float, float, "a number"),
    "BOOLEAN": (yaml.safe_load, bool, "true or false"),
    "LIST": (yaml.safe_load, list, "a list such as [a, b]"),
    "STRUCT": (yaml.safe_load, dict, "a mapping such as {key: value}"),
}
"""Of each parameter type of the run form: how its text is read, what comes out, and how a person calls it."""
_CHANGED_ON_THE_WAY = ("{{", '"', "\\")
"""Kubeflow takes the first for a placeholder, and puts text with the others into JSON as it is."""


def compile_pipeline(out: Path, folder: Path, name: str = "unlearning") -> None:
    """Compile the pipeline `name` with the params.yaml and policies of the project `folder` to `out`.

    A checkout has the pipeline's sources; for any other project they are the package's.

    Raises:
        UserError: `folder` is no project, or kfp is not installed.
    """
    if not (folder / "params.yaml").is_file() or not (folder / "mlflow/policies").is_dir():
        raise UserError(f"{folder}: no params.yaml and mlflow/policies here; run this from the project's folder")
    require_kfp()
    from kfp import compiler

    with _sources(folder):
        pipeline = getattr(importlib.import_module(f"pipelines.{name}"), name)
    out.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(out))


@contextlib.contextmanager
def _sources(project: Path) -> Iterator[None]:
    """Let pipelines/ and components/ be imported, which find the project's settings next to themselves.

    They are imported from a folder of links, and forgotten afterwards: another project has other settings.
    """
    own = (project / "pipelines/shared.py").is_file() and (project / "components").is_dir()
    kubeflow = project if own else package_data("kubeflow")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of_kubeflow(name)}
    with tempfile.TemporaryDirectory() as aside:
        for name, place in {
            "pipelines": kubeflow,
            "components": kubeflow,
            "mlflow": project,
            "params.yaml": project,
        }.items():
            (Path(aside) / name).symlink_to((place / name).resolve())
        sys.path.insert(0, aside)
        try:
            yield
        finally:
            sys.path.remove(aside)
            for name in filter(_is_of_kubeflow, list(sys.modules)):
                del sys.modules[name]
            sys.modules.update(before)


def _is_of_kubeflow(module: str) -> bool:
    return module.partition(".")[0] in ("pipelines", "components")


def run_package(package: Path, params: Sequence[str], out: Path, containers: Containers | None = None) -> Path:
    """Run every step of a compiled pipeline in a process of its own; return the folder that holds the steps' outputs.

    All that the steps print goes to log.txt in the run's folder; stderr gets its path, a line when a step starts and
    when it ends, and the progress of the long ones.

    Args:
        package: The compiled YAML; nothing else of the project is read.
        params: `key=value` for fields of the run form; the others keep their defaults.
        out: Each run makes a new folder in it: its log, and the folder that is returned.
        containers: Run the steps in containers of the package's image; None for processes of this machine.

    Raises:
        UserError: the package or a parameter is wrong, a step stopped (the message is that step's), or there is nothing
            to run its containers with.
        GateRefused: the step `promote` refused.
    """
    spec = read_package(package)
    arguments = parse_params(params, spec)
    require_kfp()
    from kfp import components

    made = process_runner()
    if containers:
        made = docker_runner(spec, dataclasses.replace(containers, gpus=gpus_of(spec, arguments)))
    pipeline = components.load_component_from_text(yaml.safe_dump(without_retries(spec)))
    with made as runner:
        folder = _new_folder(out)
        if containers:
            hand_over(folder, runner)
        _run(pipeline, arguments, runner, folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def _run(pipeline: Callable[..., Any], arguments: Mapping[str, Any], runner: Any, folder: Path) -> None:
    """Run a pipeline of kfp's, with its log in `folder`."""
    from kfp import local

    log = folder / "log.txt"
    with log.open("w", buffering=1, encoding="utf-8") as file, warnings.catch_warnings():
        local.init(runner, pipeline_root=str(folder), raise_on_error=True)
        warnings.simplefilter("ignore")  # one per step: its image is not used, its memory limit has no effect
        run_log = RunLog(file, sys.stderr)
        run_log.say(f"log: {log}")
        try:
            with contextlib.redirect_stdout(run_log), _logging_of_threads():
                pipeline(**arguments)
        except RuntimeError:  # kfp raises nothing finer for a failed step
            raise run_log.reason(log) from None


def outcome_lines(folder: Path) -> Iterator[str]:
    """The gate's verdict, then what the steps say about the version, its evidence and its promotion.

    `folder` is what `run_package` returns. A pipeline without these steps has no such lines.
    """
    from i2i_unlearn.report.terminal_summary import verdict_lines

    verdicts = folder / "evaluate/evaluation/verdicts.json"
    if verdicts.is_file():
        yield from verdict_lines(read_json(verdicts))
    for step in ("register", "evidence", "promote"):
        if facts := step_facts(folder, step):
            yield facts["message"]


def step_facts(folder: Path, step: str) -> dict[str, Any]:
    """What the stage behind a step returned, with its message; empty where the step did not run."""
    path = folder / step / "executor_output.json"
    made = (read_json(path) if path.is_file() else {}).get("artifacts", {}).values()
    found = (one["metadata"] for artifact in made for one in artifact["artifacts"])
    return next((metadata for metadata in found if "message" in metadata), {})


@contextlib.contextmanager
def _logging_of_threads() -> Iterator[None]:
    """Keep kfp's log lines coming while a loop's items run side by side, and put everything back afterwards.

    Each step of kfp.local 2.17 replaces the root logger's handlers and `print` and puts back what it found. Two at once
    put back each other's: so what they find outside must be as good, and what they leave behind must go.
    """
    from kfp.local import logging_utils

    original = builtins.print
    try:
        with logging_utils.local_logger_context():
            yield
    finally:
        builtins.print = original


def _new_folder(out: Path) -> Path:
    """A folder in `out` that no other run has, even one that starts in the same second."""
    folder = out / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    return folder


def require_kfp() -> None:
    """Raise UserError with the command that installs kfp, if it is missing."""
    try:
        importlib.import_module("kfp")
    except ModuleNotFoundError:
        raise UserError("kfp is not installed; install it with `pip install 'i2i-unlearn[kfp]'`") from None


def read_package(package: Path) -> dict[str, Any]:
    """The pipeline spec of a compiled package (its first YAML document).

    Raises:
        UserError: the file is missing or is not a compiled pipeline.
    """
    try:
        spec = next(yaml.safe_load_all(package.read_text()), None)
    except FileNotFoundError:
        raise UserError(f"{package}: no such file; write it with `i2i-unlearn pipeline compile`") from None
    except yaml.YAMLError as error:
        raise UserError(f"{package}: not valid YAML ({' '.join(str(error).split())}); compile it again") from None
    if not isinstance(spec, dict) or not {"pipelineInfo", "root", "components", "deploymentSpec"} <= set(spec):
        raise UserError(f"{package}: not a compiled pipeline; write one with `i2i-unlearn pipeline compile`")
    return spec


def form_fields(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The run form's fields by name: parameterType, description, defaultValue."""
    fields: dict[str, dict[str, Any]] = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return fields


def parse_params(params: Sequence[str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `key=value` into the run form's types: text as it is, numbers, and YAML for the rest.

    Raises:
        UserError: one is not `key=value`, names no field, or has a value of another type.
    """
    fields = form_fields(spec)
    arguments = {}
    for param in params:
        key, equals, value = param.partition("=")
        if not equals:
            raise UserError(f"--param {param!r} is not of the form key=value; write for example --param seed=1")
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(fields)}"
            raise UserError(f"--param {key}: the pipeline has no such field; {hint}")
        arguments[key] = _typed(key, value, fields[key])
    return arguments


def gpus_of(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> int:
    """How many GPUs the run form asks for; 0 also where it says no number, which the first step tells.

    Raises:
        UserError: it asks for accelerators of another kind, which Docker does not know.
    """
    form = {name: field.get("defaultValue") for name, field in form_fields(spec).items()} | dict(arguments)
    count = str(form.get("accelerator_count", "0")).strip()
    if not count.isdecimal() or not int(count):
        return 0
    containers = [executor.get("container", {}) for executor in spec["deploymentSpec"]["executors"].values()]
    for container in containers:
        kind = container.get("resources", {}).get("accelerator", {}).get("resourceType", NVIDIA)
        if kind != NVIDIA:
            raise UserError(
                f"cluster.accelerator_type={kind!r}: --runner docker provides {NVIDIA} only; set accelerator_count=0, "
                "or use --runner subprocess"
            )
    return int(count)


def _typed(key: str, value: str, field: Mapping[str, Any]) -> Any:
    told = f"--param {key}={value!r}"
    read, kind, words = _KINDS[field["parameterType"]]
    found = [mark for mark in _CHANGED_ON_THE_WAY if mark in value and kind is str]
    if found:
        raise UserError(f"{told}: Kubeflow does not hand on {found[0]} as it is; leave it out")
    if not value.strip() and field.get("defaultValue"):
        raise UserError(f"{told} is blank; give a value, or leave it out for {field['defaultValue']!r}")
    try:
        typed = read(value)
    except (ValueError, yaml.YAMLError):
        typed = None
    if not isinstance(typed, kind):
        raise UserError(f"{told}: expected {words}; correct the value")
    if isinstance(typed, float) and not math.isfinite(typed):
        raise UserError(f"{told}: expected a finite number; correct the value")
    if isinstance(typed, int) and abs(typed) >= MOST_EXACT:
        raise UserError(f"{told}: Kubeflow keeps whole numbers exact below 2^53 = {MOST_EXACT}; choose a smaller one")
    return typed


def without_retries(spec: dict[str, Any]) -> dict[str, Any]:
    """Remove the retry policy of every task, in place."""
    dags = [spec["root"], *spec["components"].values()]
    for component in dags:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    return spec
