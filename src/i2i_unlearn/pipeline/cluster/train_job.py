"""Trains on several nodes: a Kubeflow TrainJob does a stage's work while the pipeline's step waits for it.

Step and nodes meet in a folder of the volume that both mount:

    <folder>/<name>/
        job.json, splits/, teacher/     what the nodes' processes are told (training_worker.py)
        out/                            what the stage writes; the step takes it and removes the folder
        error.json                      what a process stopped with

The name is made of the run and of all that decides the result. So a retried step finds the job that it started before
and waits for it; a failed one is created again and resumes from its checkpoint. A step that is stopped deletes its job.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import urllib3

from i2i_unlearn.config.sections import ClusterConfig, ReferenceConfig, UnlearnConfig
from i2i_unlearn.pipeline.cluster.kubernetes_api import Kubernetes, connect
from i2i_unlearn.pipeline.cluster.rest import Refused, Unreachable
from i2i_unlearn.stages import reference, unlearn
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, digest_file, digest_folder, read_json, write_json
from i2i_unlearn.training.launch import ERROR, ROW, WORKER, job_of, raise_error_of
from i2i_unlearn.training.run import Facts, Stream

TRAIN_JOBS = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
NODE_LABEL = "batch.kubernetes.io/job-completion-index"
CONTAINER = "node"  # as k8s/overlays/gpu/training-runtime.yaml calls it
POLL_S = 10.0  # the first node's log is read whole each time
PATIENCE_S = 600.0  # without an answer from Kubernetes: an upgrade of its control plane takes less


def run(
    stage: str,
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: UnlearnConfig | ReferenceConfig,
    job: ClusterConfig,
    *,
    run_id: str = "",
    stream: Stream | None = None,
) -> Facts:
    """Run the stage `unlearn` or `reference`: here, or on the nodes that `job` asks for; return its summary.

    Args:
        stage: its name; it takes the same paths.
        images: URI of the image shards, the same for step and nodes.
        splits: folder that holds manifest.parquet.
        teacher: model directory.
        out: as the stage writes it.
        config: its settings; on nodes, `num_processes` is replaced by the number of processes on all of them.
        job: `train_job_nodes` 0 = here.
        run_id: of the pipeline's run; part of the TrainJob's name.
        stream: receives each logged row.

    Raises:
        UserError: what the stage raises; the job failed, took too long, or was refused; Kubernetes cannot be reached.
    """
    if job.train_job_nodes:
        config = type(config)(**{**config.model_dump(), "num_processes": job.num_processes})
    if isinstance(config, UnlearnConfig):
        if not job.train_job_nodes:
            return unlearn.run(images, splits, teacher, out, config, stream=stream)
        return _on_nodes(stage, job, run_id, stream, images, splits, teacher, out, config)
    retrain = partial(_on_nodes, stage, job, run_id, stream) if job.train_job_nodes else None
    return reference.run(images, splits, teacher, out, config, retrain=retrain)


def _on_nodes(
    stage: str,
    job: ClusterConfig,
    run_id: str,
    stream: Stream | None,
    images: str,
    splits: str | Path,
    teacher: str | Path,
    out: str | Path,
    config: UnlearnConfig | ReferenceConfig,
) -> Facts:
    name = _name(stage, run_id, config.digest(), Path(splits), Path(teacher))
    home = Path(job.train_job_folder) / name
    if not (home / "out/summary.json").is_file():
        _prepare(home, stage, images, Path(splits), Path(teacher), config)
        with connect() as kubernetes:
            _carry_out(kubernetes, _manifest(kubernetes, name, stage, home, job, run_id), home, stream, job)
    with atomic_folder(out) as aside:
        shutil.copytree(home / "out", aside, dirs_exist_ok=True)
    shutil.rmtree(home, ignore_errors=True)  # a network file system may hold on to a file that a node had open
    return dict(read_json(Path(out) / "summary.json"))


def _name(stage: str, run_id: str, config: str, splits: Path, teacher: Path) -> str:
    content = (run_id, config, digest_file(splits / "manifest.parquet"), digest_folder(teacher))
    return f"{stage}-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"


def _prepare(home: Path, stage: str, images: str, splits: Path, teacher: Path, config: Any) -> None:
    """Put what the nodes need where they see it."""
    if not (home / "job.json").is_file():
        with atomic_folder(home) as aside:
            shutil.copytree(splits, aside / "splits")
            shutil.copytree(teacher, aside / "teacher")
            write_json(
                aside / "job.json", job_of(stage, images, home / "splits", home / "teacher", home / "out", config)
            )


def _manifest(
    kubernetes: Kubernetes, name: str, stage: str, home: Path, job: ClusterConfig, run_id: str
) -> dict[str, Any]:
    """The TrainJob, as Kubeflow Trainer v2 reads it."""
    labels = {
        "app.kubernetes.io/name": "i2i-unlearn",
        "app.kubernetes.io/component": stage,
        "i2i-unlearn-run": run_id,
        "kueue.x-k8s.io/queue-name": job.train_job_queue,
        "kueue.x-k8s.io/priority-class": job.train_job_priority,
    }
    resources = {"cpu": job.train_job_cpus, "memory": job.train_job_memory}
    if job.train_job_gpus:
        resources[job.accelerator_type] = str(job.train_job_gpus)
    return {
        "apiVersion": f"{TRAIN_JOBS['group']}/{TRAIN_JOBS['version']}",
        "kind": "TrainJob",
        "metadata": {
            "name": name,
            "namespace": kubernetes.namespace,
            "labels": {key: value for key, value in labels.items() if value},
            "ownerReferences": _owner(kubernetes),
        },
        "spec": {
            "runtimeRef": {
                "apiGroup": TRAIN_JOBS["group"],
                "kind": "ClusterTrainingRuntime",
                "name": job.train_job_runtime,
            },
            "activeDeadlineSeconds": round(job.train_job_deadline_minutes * 60),
            "trainer": {
                "command": ["torchrun"],
                "args": ["-m", WORKER, str(home / "job.json")],
                "numNodes": job.train_job_nodes,
                "numProcPerNode": max(job.train_job_gpus, 1),
                "resourcesPerNode": {"requests": resources, "limits": resources},
            },
        },
    }


def _owner(kubernetes: Kubernetes) -> list[dict[str, str]]:
    """The step's pod: when Kubernetes removes it, the job goes with it. Nothing outside a pod."""
    with suppress(Refused):
        pod = kubernetes.core.read_namespaced_pod(os.environ.get("HOSTNAME", "-"), kubernetes.namespace)
        return [{"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}]
    return []


def _carry_out(
    kubernetes: Kubernetes,
    manifest: Mapping[str, Any],
    home: Path,
    stream: Stream | None,
    job: ClusterConfig,
) -> None:
    """Start the job or find it, show what its first node says, and wait until it is complete; then remove it."""
    watched = _Watched(kubernetes, manifest, home, stream)
    with _stopped_by_sigterm():
        try:
            watched.start()
            watched.wait(job.train_job_deadline_minutes)
        except BaseException as error:
            # Failed, refused or stopped: the next try starts with a new job. If Kubernetes gave no answer, the job may
            # continue without us, and a retried step finds it.
            if not _passes(error):
                watched.delete()
            raise
    watched.delete()


class _Watched:
    """A TrainJob, by its name."""

    def __init__(self, kubernetes: Kubernetes, manifest: Mapping[str, Any], home: Path, stream: Stream | None) -> None:
        from kubernetes import client

        self._kubernetes, self._manifest, self._home = kubernetes, manifest, home
        self._jobs = client.CustomObjectsApi(kubernetes.api)
        self._where = {**TRAIN_JOBS, "namespace": kubernetes.namespace}
        self._name = manifest["metadata"]["name"]
        self._logs = _Logs(kubernetes, self._name, stream)

    def start(self) -> None:
        """Make the job, or take the one that is there and has not failed."""
        found = self._get()
        if found and (_condition(found, "Failed") or found["metadata"].get("deletionTimestamp")):
            self.delete()
            found = None
        if found is None:
            (self._home / ERROR).unlink(missing_ok=True)
            try:
                self._jobs.create_namespaced_custom_object(**self._where, body=self._manifest)
            except Refused as refusal:
                if refusal.status != 409:  # made in the same moment, by a retry of this step
                    raise
            _say(f"TrainJob {self._name}: created")
        else:
            self._take_over()
            _say(f"TrainJob {self._name}: found, waiting for it")

    def _take_over(self) -> None:
        """The job belongs to the pod that waits for it, or it would go with the one that was lost."""
        owners = {"metadata": {"ownerReferences": self._manifest["metadata"]["ownerReferences"]}}
        with suppress(Refused):  # without the right to, all else works
            self._jobs.patch_namespaced_custom_object(**self._where, name=self._name, body=owners)

    def wait(self, deadline_minutes: float) -> None:
        """Until it is complete.

        Raises:
            UserError: it failed, is gone, or did not end in `deadline_minutes` after it was made, waiting included.
            Unreachable: Kubernetes gave no answer for PATIENCE_S.
        """
        heard = time.monotonic()
        while True:
            try:
                found = self._get()
                self._logs.show_new()
                heard = time.monotonic()
            except (Unreachable, Refused) as error:
                if not _passes(error) or time.monotonic() - heard > PATIENCE_S:
                    raise
                time.sleep(POLL_S)
                continue
            if found is None:
                raise UserError(f"TrainJob {self._name} was deleted from outside; run again to continue")
            if _condition(found, "Complete"):
                return
            if failed := _condition(found, "Failed"):
                self._fail(failed)
            age = datetime.now(UTC) - datetime.fromisoformat(found["metadata"]["creationTimestamp"])
            if age.total_seconds() > deadline_minutes * 60:
                raise UserError(
                    f"TrainJob {self._name} did not end in {deadline_minutes:g} minutes, waiting included; raise"
                    " cluster.train_job_deadline_minutes, compile and run again to continue"
                )
            time.sleep(POLL_S)

    def _fail(self, condition: Mapping[str, Any]) -> NoReturn:
        why = condition.get("message") or condition.get("reason") or "no reason given"
        raise_error_of(self._home / "job.json", f"TrainJob {self._name} failed: {why}", "")

    def delete(self) -> None:
        """Remove the job with its pods, and wait until it is gone; it may be gone already."""
        with suppress(Refused, Unreachable):
            self._jobs.delete_namespaced_custom_object(**self._where, name=self._name, propagation_policy="Foreground")
        end = time.monotonic() + PATIENCE_S
        with suppress(Refused, Unreachable):
            while self._get() is not None and time.monotonic() < end:
                time.sleep(POLL_S)

    def _get(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._jobs.get_namespaced_custom_object(**self._where, name=self._name)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise
        return found


class _Logs:
    """What the first node says, from where it was last listened to."""

    def __init__(self, kubernetes: Kubernetes, job: str, stream: Stream | None) -> None:
        self._kubernetes, self._job, self._stream = kubernetes, job, stream
        self._shown: dict[str, int] = {}

    def show_new(self) -> None:
        """Print the lines that came since the last call; rows of the log go to the stream instead."""
        selector = f"{JOB_LABEL}={self._job},{NODE_LABEL}=0"
        pods = self._kubernetes.core.list_namespaced_pod(self._kubernetes.namespace, label_selector=selector)
        for pod in pods.items:
            lines = self._lines(pod.metadata.name)
            for line in lines[self._shown.get(pod.metadata.name, 0) :]:
                self._show(line)
            self._shown[pod.metadata.name] = max(len(lines), self._shown.get(pod.metadata.name, 0))

    def _lines(self, pod: str) -> list[str]:
        """Whole lines of its log; none where it cannot be read now: a log never ends the wait."""
        try:
            text = self._kubernetes.core.read_namespaced_pod_log(
                pod, self._kubernetes.namespace, container=CONTAINER, _preload_content=False
            )
            whole, _, _ = text.data.decode(errors="replace").rpartition("\n")
        except (Refused, Unreachable, urllib3.exceptions.HTTPError):  # not begun, gone, cut off, not allowed
            return []
        return whole.split("\n") if whole else []

    def _show(self, line: str) -> None:
        if not line.startswith(ROW):
            _say(line)
        elif self._stream:
            self._stream(json.loads(line.removeprefix(ROW)))


def _passes(error: BaseException) -> bool:
    """Whether it says nothing about the job: no answer, or one that asks to come again."""
    is_busy = isinstance(error, Refused) and (error.status >= 500 or error.status == 429)
    return isinstance(error, Unreachable) or is_busy


def _condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    conditions = found.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), None)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """A cancelled run sends SIGTERM: let it end the wait as Ctrl-C does."""

    def stop(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
