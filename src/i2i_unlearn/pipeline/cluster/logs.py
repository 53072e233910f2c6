"""What the steps of a run printed.

Kubeflow's API has no logs: they are its pods', which Kubernetes keeps until they are removed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import urllib3

from i2i_unlearn.pipeline.cluster.kubernetes_api import Kubernetes
from i2i_unlearn.pipeline.cluster.rest import Refused, Unreachable
from i2i_unlearn.support.errors import UserError

RUN_LABEL = "pipeline/runid"
NODE = "workflows.argoproj.io/node-name"
CONTAINER = "main"
"""Of a step's pod, the one that runs the step."""


@dataclass(frozen=True)
class StepPod:
    """A pod of a step; a retried step has several."""

    step: str
    pod: str
    phase: str
    begun: str
    """Time, ISO 8601; empty if it has not begun."""


def pods(kubernetes: Kubernetes, run_id: str) -> list[StepPod]:
    """The pods of a run's steps until now, in the order in which they began; Kubeflow's own drivers are left out."""
    require_id(run_id)
    found = kubernetes.core.list_namespaced_pod(kubernetes.namespace, label_selector=f"{RUN_LABEL}={run_id}")
    steps = [pod for pod in map(_step_pod, found.items) if pod]
    return sorted(steps, key=lambda pod: (pod.begun == "", pod.begun))


def no_pods(kubernetes: Kubernetes, run_id: str) -> str:
    """What to say where a run has none."""
    return (
        f"namespace {kubernetes.namespace} has no pods of run {run_id}; they were not created yet or were removed, "
        "or the run is in another namespace: --namespace"
    )


def require_id(run_id: str) -> None:
    """Raise UserError unless it can be an id: it becomes part of a selector."""
    if not re.fullmatch(r"[0-9A-Za-z]([-0-9A-Za-z]*[0-9A-Za-z])?", run_id):
        raise UserError(f"{run_id!r} is not the id of a run; `pipeline list` shows them")


def print_logs(
    kubernetes: Kubernetes, run_id: str, write: Callable[[str], object], *, step: str = "", tail: int | None = None
) -> None:
    """Write each step's log under a line with its name; with `tail`, only that many of its last lines.

    Raises:
        UserError: the run has no pods, or no such step.
    """
    found = pods(kubernetes, run_id)
    if not found:
        raise UserError(no_pods(kubernetes, run_id))
    wanted = [pod for pod in found if not step or pod.step == step]
    if not wanted:
        raise UserError(
            f"run {run_id} has no pods of a step {step!r}; it has {', '.join(dict.fromkeys(p.step for p in found))}"
        )
    for pod in wanted:
        write(f"== {pod.step} ({pod.pod}, {pod.phase})\n")
        for text in _log(kubernetes, pod.pod, tail):
            write(text)


def _log(kubernetes: Kubernetes, pod: str, tail: int | None) -> Iterator[str]:
    try:
        reply = kubernetes.core.read_namespaced_pod_log(
            pod, kubernetes.namespace, container=CONTAINER, tail_lines=tail, _preload_content=False
        )
    except Refused as refusal:
        if refusal.status not in (400, 404):  # not begun, or gone since it was listed
            raise
        yield f"({refusal})\n"
        return
    try:
        for line in lines_of(reply, pod):
            yield line.decode(errors="replace").removesuffix("\n") + "\n"
    except Unreachable as error:
        raise Unreachable(f"{error}; run the same command again") from None


def lines_of(reply: Any, pod: str) -> Iterator[bytes]:
    """Lines of a pod's log as they arrive, each with its newline; the last may lack it.

    Raises:
        Unreachable: the log broke off.
    """
    try:
        yield from reply
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(f"the log of {pod} broke off ({type(error).__name__})") from None


def _step_pod(pod: Any) -> StepPod | None:
    name = re.sub(r"\(\d+\)$", "", (pod.metadata.annotations or {}).get(NODE, ""))
    parts = name.split(".")
    if not name or parts[-1].endswith("-driver"):
        return None
    step = parts[-2] if parts[-1] == "executor" and len(parts) > 1 else parts[-1]
    begun = pod.status and pod.status.start_time
    return StepPod(
        step, pod.metadata.name, (pod.status and pod.status.phase) or "Unknown", begun.isoformat() if begun else ""
    )
