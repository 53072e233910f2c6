"""Kubeflow Trainer as a step sees it: TrainJobs are kept, and their nodes are run, as processes of this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from kubernetes import client

from tests.pipeline.cluster.http_stub import Reply
from tests.pipeline.cluster.kubernetes_stub import KubernetesStub

PATH = r"/apis/trainer.kubeflow.org/v1alpha1/namespaces/([^/]+)/trainjobs"


class TrainerStub(KubernetesStub):
    """Nodes run in the folder `volume` with the variables that Trainer's torch plug-in sets."""

    ROUTES = [
        (rf"POST {PATH}", "create"),
        (rf"GET {PATH}/([^/]+)", "get"),
        (rf"PATCH {PATH}/([^/]+)", "patch"),
        (rf"DELETE {PATH}/([^/]+)", "delete"),
        (r"GET /api/v1/namespaces/([^/]+)/pods/([^/]+)", "get_pod"),
        *KubernetesStub.ROUTES,
    ]

    def __init__(self, volume: Path) -> None:
        super().__init__()
        self.volume = volume
        self.train_jobs: dict[str, dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.runs_nodes = True

    def create(self, query: Any, body: bytes, namespace: str) -> Any:
        job = json.loads(body)
        TrainerV1alpha1TrainJob.from_json(body.decode())  # strict types and unknown values are refused
        assert TrainerV1alpha1TrainJob.from_dict(job).to_dict()["spec"] == job["spec"]  # no field it does not know
        name = job["metadata"]["name"]
        if name in self.train_jobs:
            raise Reply(409, {"message": f'trainjobs "{name}" already exists'})
        job["metadata"]["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.train_jobs[name] = job
        self.made.append(job)
        if self.runs_nodes:
            threading.Thread(target=self._run, args=(name, job), daemon=True).start()
        return job

    def get(self, query: Any, body: bytes, namespace: str, name: str) -> Any:
        if name not in self.train_jobs:
            raise Reply(404, {"message": f'trainjobs "{name}" not found'})
        return self.train_jobs[name]

    def patch(self, query: Any, body: bytes, namespace: str, name: str) -> Any:
        found = self.get(query, body, namespace, name)
        change = json.loads(body)
        assert set(change) == {"metadata"}
        found["metadata"].update(change["metadata"])
        return found

    def delete(self, query: Any, body: bytes, namespace: str, name: str) -> Any:
        found = self.get(query, body, namespace, name)
        for process in self.processes.get(name, []):
            process.terminate()
        del self.train_jobs[name]
        self.pods = [pod for pod in self.pods if not pod.metadata.name.startswith(name)]
        return found

    def get_pod(self, query: Any, body: bytes, namespace: str, name: str) -> Any:
        for pod in self.pods:
            if pod.metadata.name == name:
                return pod
        raise Reply(404, {"message": f'pods "{name}" not found'})

    def list_pods(self, query: dict[str, list[str]], body: bytes, namespace: str) -> Any:
        wanted = dict(part.split("=") for part in query["labelSelector"][0].split(","))
        found = [pod for pod in self.pods if wanted.items() <= pod.metadata.labels.items()]
        return client.V1PodList(items=found)

    def get_log(self, query: dict[str, list[str]], body: bytes, namespace: str, name: str) -> Any:
        assert query["container"] == ["node"]
        return (self.volume / f"{name}.log").read_bytes()

    def end(self, name: str, kind: str, message: str = "") -> None:
        """Set the condition that says how the job ended."""
        condition = {"type": kind, "status": "True", "reason": "Test", "message": message}
        self.train_jobs[name]["status"] = {"conditions": [condition]}

    def add_node(self, job: str, node: int, pod: str) -> None:
        """The pod of a node, as Trainer names and labels it."""
        labels = {"jobset.sigs.k8s.io/jobset-name": job, "batch.kubernetes.io/job-completion-index": str(node)}
        self.pods.append(client.V1Pod(metadata=client.V1ObjectMeta(name=pod, namespace="team-a", labels=labels)))

    def _run(self, name: str, job: dict[str, Any]) -> None:
        trainer = job["spec"]["trainer"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [shutil.which("torchrun", path=str(Path(sys.executable).parent)), *trainer["args"]]
        assert trainer["command"] == ["torchrun"]
        processes = self.processes[name] = []
        for node in range(trainer["numNodes"]):
            rendezvous = {"NNODES": trainer["numNodes"], "NODE_RANK": node, "NPROC_PER_NODE": trainer["numProcPerNode"]}
            where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_ADDR": "127.0.0.1"}
            told = {f"PET_{key}": str(value) for key, value in {**rendezvous, **where}.items()}
            pod = f"{name}-node-0-{node}"
            with (self.volume / f"{pod}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        command,
                        cwd=self.volume,
                        env={**os.environ, "OMP_NUM_THREADS": "1", **told},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
            self.add_node(name, node, pod)
        codes = [process.wait() for process in processes]
        if name in self.train_jobs:
            failed = any(codes)
            self.end(name, "Failed" if failed else "Complete", "jobset failed" if failed else "")

    def close(self) -> None:
        """End every node that still runs."""
        for process in [process for processes in self.processes.values() for process in processes]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
