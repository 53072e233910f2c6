"""The namespace that runs use: what may be done there, its secrets and volume, nodes with GPUs, and the image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_unlearn.cli.doctor_checks.base import Check, Line, State
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.config.sections import ClusterConfig
    from i2i_unlearn.pipeline.cluster.kubernetes_api import Kubernetes

RIGHTS = {
    "submit, watch and cancel runs": [
        ("pipelines.kubeflow.org", "runs", verb) for verb in ("create", "get", "list", "terminate")
    ],
    "schedule": [("pipelines.kubeflow.org", "jobs", verb) for verb in ("create", "list")],
    "upload pipelines": [("pipelines.kubeflow.org", "pipelines", verb) for verb in ("create", "list")],
    "read logs": [("", "pods", "list"), ("", "pods/log", "get")],
}
"""What each needs: API group, resource, verb. With several users, Kubeflow checks its own rights in Kubernetes."""
Secret = tuple[str, tuple[str, ...], State, str]
"""Its name, the entries it must have, the state if it is missing, and what to do."""
MLFLOW_SECRETS = {
    "mlflow-database": ("uri",),
    "mlflow-s3": ("access-key-id", "secret-access-key"),
    "mlflow-auth": ("admin-password", "flask-secret-key", "basic_auth.ini"),
}
PULL_FAILED = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}


def kubernetes_namespace(namespace: str, timeout_s: float, package: Path) -> Check:
    """What Kubernetes tells; `package`: the compiled pipeline, which names the rest.

    Its section `cluster` names the volume, the Secrets with keys and the accelerators.
    """

    def check() -> Iterator[Line]:
        try:
            from i2i_unlearn.config.sections import ClusterConfig
            from i2i_unlearn.pipeline.cluster.kubernetes_api import connect
            from i2i_unlearn.pipeline.compiled import carried
            from i2i_unlearn.pipeline.local.runner import read_package

            with connect(namespace, timeout_s) as kubernetes:
                yield answers(kubernetes)
                yield from rights(kubernetes)
                try:
                    spec = read_package(package)
                    cluster = ClusterConfig.from_params(carried(spec))
                except UserError as error:
                    yield Line("package", "fail", f"{error} ({package})", "secrets, volume, GPUs: not checked")
                    return
                yield from secrets(kubernetes, secrets_of(cluster))
                yield from volume(kubernetes, cluster.volume_claim)
                yield from gpus(kubernetes, cluster.accelerator_type)
                yield from image(kubernetes, spec)
        except UserError as error:
            yield Line("kubernetes", "fail", str(error), "nothing else was checked")

    return check


def answers(kubernetes: "Kubernetes") -> Line:
    """Its version."""
    from kubernetes import client

    told = client.VersionApi(kubernetes.api).get_code()
    return Line("kubernetes", "ok", f"{kubernetes.host} answers, {told.git_version}, namespace {kubernetes.namespace}")


def rights(kubernetes: "Kubernetes") -> Iterator[Line]:
    """What the caller may do in the namespace (SelfSubjectAccessReview)."""
    for purpose, needed in RIGHTS.items():
        missing = [
            f"{verb} {resource}" for group, resource, verb in needed if not _may(kubernetes, verb, resource, group)
        ]
        name = f"may {purpose}"
        if missing:
            advice = f"ask for a role in namespace {kubernetes.namespace} (Kubeflow: kubeflow-edit)"
            yield Line(name, "fail", f"not allowed: {', '.join(missing)}", advice)
        else:
            yield Line(name, "ok", f"allowed in namespace {kubernetes.namespace}")


def secrets_of(cluster: "ClusterConfig") -> list[Secret]:
    """The Secrets that the steps and k8s/overlays/prod use."""
    key = cluster.hmac_key_secret
    create = f"kubectl create secret generic {key} --from-file=hmac.key=.secrets/hmac.key"
    unsigned = "without it, no evidence is created: docs/evidence.md"
    server = "needed by k8s/overlays/prod: docs/kubernetes.md"
    return [
        (key, ("hmac.key",), "fail", create),
        (cluster.evidence_key_secret, ("private.pem",), "warn", unsigned),
        *((name, entries, "warn", server) for name, entries in MLFLOW_SECRETS.items()),
    ]


def secrets(kubernetes: "Kubernetes", wanted: Sequence[Secret]) -> Iterator[Line]:
    """Whether they exist with their entries. Only the names of entries are shown."""
    from i2i_unlearn.pipeline.cluster.rest import Refused

    for secret, entries, fault, advice in wanted:
        name = f"secret {secret}"
        if not _may(kubernetes, "get", "secrets", "", secret):
            told = f"kubectl -n {kubernetes.namespace} get secret {secret}"
            yield Line(name, "warn", "not allowed to read it", f"ask somebody who is: {told}")
            continue
        try:
            given = set(kubernetes.core.read_namespaced_secret(secret, kubernetes.namespace).data or {})
        except Refused as error:
            if error.status != 404:
                raise
            yield Line(name, fault, f"is not in namespace {kubernetes.namespace}", advice)
            continue
        if lacking := [entry for entry in entries if entry not in given]:
            yield Line(name, fault, f"has no entry {', '.join(lacking)}", advice)
        else:
            yield Line(name, "ok", f"there, with {', '.join(entries)}")


def volume(kubernetes: "Kubernetes", wanted: str) -> Iterator[Line]:
    """The working directory of every step."""
    from i2i_unlearn.pipeline.cluster.rest import Refused

    name = f"volume {wanted}"
    try:
        claim = kubernetes.core.read_namespaced_persistent_volume_claim(wanted, kubernetes.namespace)
    except Refused as error:
        if error.status == 403:
            yield Line(name, "warn", "may not be looked at", "ask somebody who may whether it is bound")
            return
        if error.status != 404:
            raise
        advice = "kubectl apply -k k8s/overlays/prod, or set cluster.volume_claim in params.yaml and compile"
        yield Line(name, "fail", f"is not in namespace {kubernetes.namespace}", advice)
        return
    modes = ", ".join(claim.spec.access_modes or [])
    if claim.status.phase == "Bound":
        yield Line(name, "ok", f"bound, {modes}")
    else:
        advice = "see kubectl describe pvc; a class that binds late waits for its first pod, which is not a fault"
        yield Line(name, "warn", f"{claim.status.phase}, {modes}", advice)


def gpus(kubernetes: "Kubernetes", wanted: str) -> Iterator[Line]:
    """Accelerators of the type `wanted` that the nodes offer to pods (allocatable), whether or not they are in use."""
    from i2i_unlearn.pipeline.cluster.rest import Refused

    try:
        nodes = kubernetes.core.list_node().items
    except Refused as error:
        if error.status != 403:
            raise
        yield Line("nodes with GPUs", "warn", "not allowed to list nodes", "ask somebody who is: kubectl get nodes")
        return
    offered = {node.metadata.name: int((node.status.allocatable or {}).get(wanted, "0")) for node in nodes}
    usable = {node.metadata.name for node in nodes if _usable(node)}
    ready = {name: count for name, count in offered.items() if count and name in usable}
    away = [name for name, count in offered.items() if count and name not in usable]
    closed = f"; not usable now: {', '.join(away)}" if away else ""
    if ready:
        listed = ", ".join(f"{name}: {count}" for name, count in ready.items())
        yield Line("nodes with GPUs", "ok", f"{sum(ready.values())} {wanted} ({listed}){closed}")
    else:
        advice = "leave accelerator_count at 0 and device at cpu, or add nodes with a device plugin"
        yield Line("nodes with GPUs", "warn", f"none of {len(nodes)} nodes offers {wanted}{closed}", advice)


def image(kubernetes: "Kubernetes", spec: Mapping[str, Any]) -> Iterator[Line]:
    """Whether the namespace has pulled the package's image before. Only a pod can tell whether it can be pulled."""
    executors = spec["deploymentSpec"].get("executors", {}).values()
    for wanted in sorted({one["container"]["image"] for one in executors if "container" in one}):
        yield _image(kubernetes, wanted)


def _image(kubernetes: "Kubernetes", wanted: str) -> Line:
    name = "image"
    statuses = [
        (pod.metadata.name, status)
        for pod in kubernetes.core.list_namespaced_pod(kubernetes.namespace).items
        for status in (pod.status.container_statuses or [])
        if status.image == wanted or status.image.endswith(f"/{wanted}")
    ]
    for pod, status in statuses:
        waiting = status.state and status.state.waiting
        if waiting and waiting.reason in PULL_FAILED:
            advice = "correct I2I_UNLEARN_IMAGE and compile again, or the registry's credentials (imagePullSecrets)"
            return Line(name, "fail", f"{wanted}: pod {pod} cannot pull it ({waiting.reason})", advice)
    if pulled := [(pod, status) for pod, status in statuses if status.image_id]:
        pod, status = pulled[-1]
        return Line(name, "ok", f"{wanted}: pod {pod} has run it ({status.image_id})")
    if "/" not in wanted:
        advice = "compile with I2I_UNLEARN_IMAGE=registry/i2i-unlearn:tag, unless every node has the image already"
        return Line(name, "warn", f"{wanted} names no registry, and no pod here has run it yet", advice)
    accounts = kubernetes.core.list_namespaced_service_account(kubernetes.namespace).items
    with_secrets = [account.metadata.name for account in accounts if account.image_pull_secrets]
    known = f"accounts with imagePullSecrets: {', '.join(with_secrets)}" if with_secrets else "no imagePullSecrets"
    advice = "the first run shows whether it can be pulled"
    return Line(name, "warn", f"{wanted}: no pod here has run it yet ({known})", advice)


def _may(kubernetes: "Kubernetes", verb: str, resource: str, group: str, name: str = "") -> bool:
    from kubernetes import client

    resource, _, subresource = resource.partition("/")
    asked = client.V1ResourceAttributes(
        namespace=kubernetes.namespace,
        verb=verb,
        group=group,
        resource=resource,
        subresource=subresource or None,
        name=name or None,
    )
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=asked))
    told = client.AuthorizationV1Api(kubernetes.api).create_self_subject_access_review(review)
    return bool(told.status and told.status.allowed)


def _usable(node: Any) -> bool:
    ready = any(one.type == "Ready" and one.status == "True" for one in node.status.conditions or [])
    return ready and not node.spec.unschedulable
