"""The rendered manifests are valid, and their names, labels, ports, volumes and accounts agree with each other."""

import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1ClusterTrainingRuntime
from kubernetes.utils import parse_quantity

from i2i_unlearn.config.sections import load_params
from tests.k8s.conftest import K8S, OVERLAYS, pods_in
from tests.k8s.pod_security import faults

ROOT = Path(__file__).parents[2]
VERSION = "1.34"
CLUSTER_SCOPED = {"Namespace", "ClusterTrainingRuntime"}
CUSTOM = {"ClusterTrainingRuntime", "LocalQueue"}
LOCAL_QUEUE = {
    "type": "object",
    "required": ["clusterQueue"],
    "additionalProperties": False,
    "properties": {
        "clusterQueue": {"type": "string", "maxLength": 253},
        "stopPolicy": {"enum": ["None", "Hold", "HoldAndDrain"]},
        "fairSharing": {"type": "object"},
    },
}
"""Of spec, https://kueue.sigs.k8s.io/docs/reference/kueue.v1beta1/#kueue-x-k8s-io-v1beta1-LocalQueueSpec"""
BROUGHT = {"mlflow-database", "mlflow-auth", "mlflow-s3"}
"""Secrets that a person makes before; docs/kubernetes.md tells how."""


def of_kind(manifests, kind):
    return [one for one in manifests if one["kind"] == kind]


def names(manifests, kind):
    return {one["metadata"]["name"] for one in of_kind(manifests, kind)}


def selects(selector, labels):
    """Whether a label selector matches; only the operators that are used here."""
    for wanted in selector.get("matchExpressions", []):
        assert wanted["operator"] == "Exists"
        if wanted["key"] not in labels:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


# --- valid ---


def test_built_in_kinds_are_valid_and_have_no_unknown_field(overlay):
    for manifest in overlay:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_mistyped_field_would_be_seen(prod):
    (deployment,) = of_kind(prod, "Deployment")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_custom_kinds_are_what_their_projects_publish(overlay):
    for manifest in of_kind(overlay, "ClusterTrainingRuntime"):
        read = TrainerV1alpha1ClusterTrainingRuntime.from_dict(manifest)
        assert read.to_dict() == manifest  # an unknown field would be lost
    for manifest in of_kind(overlay, "LocalQueue"):
        assert manifest["apiVersion"] == "kueue.x-k8s.io/v1beta1"
        jsonschema.validate(manifest["spec"], LOCAL_QUEUE)


def test_every_overlay_is_there():
    assert OVERLAYS == ["dev", "gpu", "prod"]


# --- names ---


def test_all_is_in_the_namespace_that_is_made_and_nothing_is_twice(overlay):
    (namespace,) = names(overlay, "Namespace")
    for manifest in overlay:
        expected = None if manifest["kind"] in CLUSTER_SCOPED else namespace
        assert manifest["metadata"].get("namespace") == expected, manifest["metadata"]["name"]
    found = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in overlay]
    assert len(set(found)) == len(found)


def test_pods_name_accounts_claims_and_settings_that_are_there(overlay):
    for pod in pods_in(overlay):
        if "serviceAccountName" in pod:
            assert pod["serviceAccountName"] in names(overlay, "ServiceAccount")
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in names(overlay, "PersistentVolumeClaim")
            if "secret" in volume:
                assert volume["secret"]["secretName"] in BROUGHT
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in names(overlay, "ConfigMap")
            for variable in container.get("env", []):
                key = variable.get("valueFrom", {}).get("secretKeyRef")
                assert key is None or key["name"] in BROUGHT


def test_secrets_are_named_and_never_given(overlay):
    assert not of_kind(overlay, "Secret")
    for path in K8S.rglob("*"):
        text = path.read_text().lower() if path.is_file() else ""
        assert not re.search(r"(?<!account)(password|secret.?key|token):\s*\S", text), path


def test_a_role_is_bound_to_an_account_that_is_there(overlay):
    for binding in of_kind(overlay, "RoleBinding"):
        assert binding["roleRef"]["name"] in names(overlay, binding["roleRef"]["kind"])
        (namespace,) = names(overlay, "Namespace")
        for subject in binding["subjects"]:
            assert subject["name"] in names(overlay, subject["kind"])
            assert subject.get("namespace", namespace) == namespace


def test_no_role_may_do_everything_or_read_any_secret(overlay):
    for role in of_kind(overlay, "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            assert "secrets" not in rule["resources"] or rule["resourceNames"]


# --- labels and ports ---


def pod_labels(overlay):
    return [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(overlay, "Deployment")]


def test_each_service_and_budget_finds_the_pods_and_the_port(overlay):
    for service in of_kind(overlay, "Service"):
        (deployment,) = (
            one
            for one in of_kind(overlay, "Deployment")
            if selects({"matchLabels": service["spec"]["selector"]}, one["spec"]["template"]["metadata"]["labels"])
        )
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
        given = container["args"]
        assert int(given[given.index("--port") + 1]) in ports.values()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
    for budget in of_kind(overlay, "PodDisruptionBudget"):
        assert any(selects(budget["spec"]["selector"], labels) for labels in pod_labels(overlay))
        assert budget["spec"]["minAvailable"] < min(one["spec"]["replicas"] for one in of_kind(overlay, "Deployment"))


def test_a_deployment_selects_its_own_pods(overlay):
    for deployment in of_kind(overlay, "Deployment"):
        assert selects(deployment["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"])


def test_by_default_nothing_goes_in_or_out(overlay):
    (deny,) = (one for one in of_kind(overlay, "NetworkPolicy") if one["metadata"]["name"] == "default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_steps_reach_mlflow_from_both_ends(overlay):
    """What the steps may send to is what MLflow's pods may be sent from, at the port of its service."""
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(overlay, "NetworkPolicy")}
    (service,) = of_kind(overlay, "Service")
    port = service["spec"]["ports"][0]["port"]
    out, into = policies["pipeline-steps"]["egress"][0], policies["mlflow"]["ingress"][0]
    assert [one["port"] for one in out["ports"]] == [one["port"] for one in into["ports"]] == [port]
    (peer,) = out["to"]
    assert any(selects(peer["podSelector"], labels) for labels in pod_labels(overlay))
    assert any(selects(policies["mlflow"]["podSelector"], labels) for labels in pod_labels(overlay))
    assert into["from"] == [{"podSelector": {}}]


def test_mlflow_answers_to_the_names_of_its_service(overlay):
    (settings,), (service,) = of_kind(overlay, "ConfigMap"), of_kind(overlay, "Service")
    allowed = settings["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert {name, f"{name}:{port}", f"{name}.*"} <= set(allowed)
    assert {"localhost:*", "127.0.0.1:*"} <= set(allowed)  # a port-forward


# --- limits ---


def test_the_quota_has_room_for_what_always_runs(overlay):
    (quota,) = of_kind(overlay, "ResourceQuota")
    for what in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            taken = sum(
                deployment["spec"]["replicas"] * parse_quantity(container["resources"][what][resource])
                for deployment in of_kind(overlay, "Deployment")
                for container in deployment["spec"]["template"]["spec"]["containers"]
            )
            assert 0 < taken <= parse_quantity(quota["spec"]["hard"][f"{what}.{resource}"]) / 2
    claimed = [one["spec"]["resources"]["requests"]["storage"] for one in of_kind(overlay, "PersistentVolumeClaim")]
    assert sum(map(parse_quantity, claimed)) <= parse_quantity(quota["spec"]["hard"]["requests.storage"])
    assert len(claimed) <= int(quota["spec"]["hard"]["persistentvolumeclaims"])


def test_a_training_node_fits_the_quota(overlay):
    (quota,) = of_kind(overlay, "ResourceQuota")
    for runtime in of_kind(overlay, "ClusterTrainingRuntime"):
        (pod,) = pods_in(runtime)
        (container,) = pod["containers"]
        for resource in ("cpu", "memory"):
            asked = parse_quantity(container["resources"]["requests"][resource])
            assert asked <= parse_quantity(quota["spec"]["hard"][f"requests.{resource}"])
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "requests.nvidia.com/gpu" in quota["spec"]["hard"]
        shared = next(volume for volume in pod["volumes"] if volume["name"] == "shared-memory")
        assert shared["emptyDir"]["medium"] == "Memory"


# --- the pipeline ---


def test_what_the_cluster_section_names_is_what_is_installed(overlay):
    cluster = load_params(ROOT / "params.yaml")["cluster"]
    assert cluster["volume_claim"] in names(overlay, "PersistentVolumeClaim")
    assert {cluster["train_job_runtime"]} >= set(names(overlay, "ClusterTrainingRuntime"))
    workdir = "/workspace"
    for runtime in of_kind(overlay, "ClusterTrainingRuntime"):
        (container,) = next(iter(pods_in(runtime)))["containers"]
        assert container["workingDir"] == workdir
        assert {"name": "workspace", "mountPath": workdir} in container["volumeMounts"]
    assert f'WORKDIR = "{workdir}"' in (ROOT / "pipelines/shared.py").read_text()


# --- the pod that files are copied through ---


VOLUME_SHELL = yaml.safe_load((K8S / "volume-shell.yaml").read_text())


def test_the_volume_shell_is_admitted_ends_by_itself_and_may_ask_the_api_nothing():
    kubernetes_validate.validate(VOLUME_SHELL, VERSION, strict=True)
    pod = VOLUME_SHELL["spec"]
    assert faults(pod) == []
    assert int(pod["containers"][0]["command"][1]) <= 8 * 3600
    assert pod["automountServiceAccountToken"] is False


def test_the_volume_shell_is_on_the_volume_of_the_steps(overlay):
    (claimed,) = [volume for volume in VOLUME_SHELL["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert claimed["persistentVolumeClaim"]["claimName"] in names(overlay, "PersistentVolumeClaim")
