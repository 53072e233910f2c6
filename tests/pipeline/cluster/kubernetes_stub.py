"""Kubernetes' API as far as it is asked here, made of the kubernetes client's models."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.pipeline.cluster.http_stub import Reply, Stub

BEGUN = datetime(2026, 2, 1, 12, tzinfo=UTC)
LINE_EVERY = timedelta(seconds=0.25)
"""Of a log, the time from line to line: several share a second, as Kubernetes counts."""


class KubernetesStub(Stub):
    def __init__(self, token: str = "") -> None:
        super().__init__(client.ApiClient())
        self.token = token
        self.pods: list[Any] = []
        self.logs: dict[str, bytes] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.nodes: list[Any] = []
        self.accounts: list[Any] = []
        self.claims: list[Any] = []
        self.allowed: Callable[[Any], bool] = lambda attributes: True
        """Whether the asker may do it (V1ResourceAttributes)."""
        self.version = "v1.33.1"
        self.line_every = LINE_EVERY

    def kubeconfig(self, path: Path, namespace: str = "team-a", token: str = "") -> Path:
        context = {"cluster": "stub", "user": "me", "namespace": namespace}
        config = {
            "current-context": "stub",
            "clusters": [{"name": "stub", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "stub", "context": context}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def add_pod(self, name: str, node_name: str, run_id: str, *, after: float | None = 0, **more: Any) -> None:
        """A pod as Argo makes it for Kubeflow; `after`: seconds from BEGUN on, None = not begun."""
        begun = BEGUN + timedelta(seconds=after) if after is not None else None
        phase = more.pop("phase", "Succeeded" if begun else "Pending")
        self.pods.append(
            client.V1Pod(
                metadata=client.V1ObjectMeta(
                    name=name,
                    namespace=more.pop("namespace", "team-a"),
                    labels={"pipeline/runid": run_id, "pipelines.kubeflow.org/v2_component": "true"},
                    annotations={"workflows.argoproj.io/node-name": node_name},
                ),
                spec=client.V1PodSpec(containers=[client.V1Container(name="main", image=more.pop("image", "i2i"))]),
                status=client.V1PodStatus(phase=phase, start_time=begun, **more),
            )
        )

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: bytes, headers: dict[str, str]) -> Any:
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            raise _status(401, "Unauthorized")
        return super().handle(method, path, query, body, headers)

    ROUTES = [
        (r"GET /version/?", "get_version"),
        (r"GET /api/v1/namespaces/([^/]+)/pods", "list_pods"),
        (r"GET /api/v1/namespaces/([^/]+)/pods/([^/]+)/log", "get_log"),
        (r"GET /api/v1/namespaces/([^/]+)/secrets/([^/]+)", "get_secret"),
        (r"GET /api/v1/namespaces/([^/]+)/serviceaccounts", "list_accounts"),
        (r"GET /api/v1/namespaces/([^/]+)/persistentvolumeclaims/([^/]+)", "get_claim"),
        (r"GET /api/v1/nodes", "list_nodes"),
        (r"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "review"),
    ]

    def get_version(self, *_: Any) -> Any:
        return {"major": "1", "minor": "33", "gitVersion": self.version, "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}  # fmt: skip

    def list_pods(self, query: dict[str, list[str]], body: bytes, namespace: str) -> Any:
        selector = query.get("labelSelector", [""])[0]
        key, _, value = selector.partition("=")
        pods = [pod for pod in self.pods if pod.metadata.namespace == namespace]
        return client.V1PodList(items=[pod for pod in pods if not key or pod.metadata.labels.get(key) == value])

    def get_log(self, query: dict[str, list[str]], body: bytes, namespace: str, name: str) -> Any:
        assert query["container"] == ["main"]
        if name not in self.logs:
            raise _status(400, f'container "main" in pod "{name}" is waiting to start: ContainerCreating')
        lines = self.logs[name].splitlines(keepends=True)
        if query.get("timestamps") == ["true"]:
            moments = [BEGUN + number * self.line_every for number in range(len(lines))]
            since = datetime.fromisoformat(query["sinceTime"][0]) if "sinceTime" in query else BEGUN
            stamps = [f"{moment:%FT%T.%f}000Z ".encode() for moment in moments]
            lines = [
                stamp + line for moment, stamp, line in zip(moments, stamps, lines, strict=True) if moment >= since
            ]
        return b"".join(lines[-int(query["tailLines"][0]) :] if "tailLines" in query else lines)

    def get_secret(self, query: Any, body: bytes, namespace: str, name: str) -> Any:
        self._must("get", "secrets", namespace, name)
        if name not in self.secrets:
            raise _status(404, f'secrets "{name}" not found')
        return client.V1Secret(metadata=client.V1ObjectMeta(name=name), data=self.secrets[name])

    def list_accounts(self, query: Any, body: bytes, namespace: str) -> Any:
        return client.V1ServiceAccountList(items=self.accounts)

    def get_claim(self, query: Any, body: bytes, namespace: str, name: str) -> Any:
        for claim in self.claims:
            if claim.metadata.name == name:
                return claim
        raise _status(404, f'persistentvolumeclaims "{name}" not found')

    def list_nodes(self, *_: Any) -> Any:
        self._must("list", "nodes", "", "")
        return client.V1NodeList(items=self.nodes)

    def review(self, query: Any, body: bytes) -> Any:
        given = json.loads(body)["spec"]["resourceAttributes"]
        attributes = client.V1ResourceAttributes(**{_snake(key): value for key, value in given.items()})
        allowed = self.allowed(attributes)
        return client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes),
            status=client.V1SubjectAccessReviewStatus(allowed=allowed),
        )

    def _must(self, verb: str, resource: str, namespace: str, name: str) -> None:
        asked = client.V1ResourceAttributes(verb=verb, resource=resource, namespace=namespace, name=name, group="")
        if not self.allowed(asked):
            raise _status(403, f'{resource} is forbidden: User "me" cannot {verb} resource "{resource}"')


def _snake(key: str) -> str:
    return re.sub("([A-Z])", lambda found: "_" + found[1].lower(), key)


def _status(code: int, message: str) -> Reply:
    return Reply(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})
