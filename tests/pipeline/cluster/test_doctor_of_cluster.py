"""What the doctor says of Kubeflow Pipelines and of the namespace; both are stubs behind real sockets."""

import json
import re

import kfp
import pytest
import yaml
from kubernetes import client

from i2i_unlearn.cli.doctor_checks import kubeflow as of_kubeflow
from i2i_unlearn.cli.doctor_checks.kubernetes_namespace import MLFLOW_SECRETS, secrets_of
from i2i_unlearn.config.sections import ClusterConfig, load_params
from i2i_unlearn.pipeline.compiled import carried
from tests.pipeline.cluster.http_stub import Reply
from tests.pipeline.cluster.kfp_stub import ROOT, KubeflowStub
from tests.pipeline.cluster.kubernetes_stub import KubernetesStub

WANTED = secrets_of(ClusterConfig.from_params(load_params(ROOT / "params.yaml")))


@pytest.fixture
def doctor(unlearn, monkeypatch):
    """`doctor("--cluster")` -> exit code, lines by name; what is asked of the machine itself is left out."""
    monkeypatch.setattr("i2i_unlearn.cli.doctor_checks.EVERYWHERE", ())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*arguments):
        code, out, err = unlearn("doctor", "--json", *arguments)
        assert err == ""
        assert "Traceback" not in out
        return code, {line["name"]: line for line in json.loads(out)}

    return call


def ready(name, gpus="0", status="True", unschedulable=None):
    return client.V1Node(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1NodeSpec(unschedulable=unschedulable),
        status=client.V1NodeStatus(
            allocatable={"cpu": "8", "nvidia.com/gpu": gpus},
            conditions=[client.V1NodeCondition(type="Ready", status=status)],
        ),
    )


def claim(phase):
    return client.V1PersistentVolumeClaim(
        metadata=client.V1ObjectMeta(name="i2i-unlearn"),
        spec=client.V1PersistentVolumeClaimSpec(access_modes=["ReadWriteMany"]),
        status=client.V1PersistentVolumeClaimStatus(phase=phase),
    )


def account(name, pull_secrets=()):
    return client.V1ServiceAccount(
        metadata=client.V1ObjectMeta(name=name),
        image_pull_secrets=[client.V1LocalObjectReference(name=one) for one in pull_secrets] or None,
    )


def container(image, image_id="", waiting=None):
    state = client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason=waiting)) if waiting else None
    return client.V1ContainerStatus(
        name="main", image=image, image_id=image_id, ready=False, restart_count=0, state=state
    )


@pytest.fixture
def whole(kubernetes: KubernetesStub) -> KubernetesStub:
    """A namespace in which nothing is missing."""
    kubernetes.secrets = {name: dict.fromkeys(entries, "c2VjcmV0") for name, entries, *_ in WANTED}
    kubernetes.claims = [claim("Bound")]
    kubernetes.nodes = [ready("a", "4"), ready("b", "4"), ready("cpu"), ready("drained", "8", unschedulable=True)]
    kubernetes.accounts = [account("default")]
    statuses = [container("docker.io/library/i2i-unlearn:0.1.0", "sha256:abc")]
    kubernetes.add_pod("ran", "w.root.split.executor", "r", container_statuses=statuses)
    return kubernetes


# --- the namespace ---


def test_a_namespace_in_which_all_is_there_is_only_read(whole, kubeflow, doctor):
    code, lines = doctor("--cluster", "--host", kubeflow.url)
    assert code == 0
    notable = {name: line["found"] for name, line in lines.items() if line["state"] != "ok"}
    assert set(notable) == {"kubeflow version", "kubeflow features"}  # the API does not tell its version
    assert lines["nodes with GPUs"]["found"] == "8 nvidia.com/gpu (a: 4, b: 4); not usable now: drained"
    assert "team-a" in lines["kubernetes"]["found"]
    assert "c2VjcmV0" not in json.dumps(lines)
    methods = {(method, path.rpartition("/")[2]) for method, path, *_ in whole.requests if method != "GET"}
    assert methods == {("POST", "selfsubjectaccessreviews")}


def test_rights_that_are_missing_are_named(whole, doctor):
    missing = {("runs", "create", None), ("runs", "terminate", None), ("pods", "get", "log")}
    whole.allowed = lambda asked: (asked.resource, asked.verb, asked.subresource) not in missing
    code, lines = doctor("--cluster")
    assert code == 1
    assert lines["may submit, watch and cancel runs"]["found"] == "not allowed: create runs, terminate runs"
    assert lines["may read logs"]["found"] == "not allowed: get pods/log"
    assert lines["may schedule"]["state"] == "ok"


def test_a_missing_key_is_a_failure_a_missing_extra_a_warning_an_empty_one_too(whole, doctor):
    del whole.secrets["i2i-unlearn-hmac"], whole.secrets["i2i-unlearn-evidence"]
    whole.secrets["mlflow-s3"] = {"access-key-id": "x"}
    code, lines = doctor("--cluster")
    assert code == 1
    assert lines["secret i2i-unlearn-hmac"]["state"] == "fail"
    assert "--from-file=hmac.key" in lines["secret i2i-unlearn-hmac"]["advice"]
    assert lines["secret i2i-unlearn-evidence"]["state"] == "warn"
    assert lines["secret mlflow-s3"]["found"] == "has no entry secret-access-key"
    assert lines["secret mlflow-database"]["state"] == "ok"


def test_what_may_not_be_looked_at_is_a_warning(whole, doctor):
    whole.allowed = lambda asked: asked.resource not in ("secrets", "nodes")
    _, lines = doctor("--cluster")
    assert {lines[f"secret {name}"]["state"] for name, *_ in WANTED} == {"warn"}
    assert lines["nodes with GPUs"]["state"] == "warn"
    assert not [path for _, path, *_ in whole.requests if "/secrets/" in path]


@pytest.mark.parametrize(("claims", "state"), [([], "fail"), ([claim("Pending")], "warn")])
def test_the_volume(whole, doctor, claims, state):
    whole.claims = claims
    assert doctor("--cluster")[1]["volume i2i-unlearn"]["state"] == state


def test_no_gpu_is_a_warning(whole, doctor):
    whole.nodes = [ready("cpu"), ready("broken", "8", status="Unknown")]
    _, lines = doctor("--cluster")
    assert lines["nodes with GPUs"]["state"] == "warn"
    assert lines["nodes with GPUs"]["found"] == "none of 2 nodes offers nvidia.com/gpu; not usable now: broken"


def test_an_image_that_cannot_be_pulled_is_a_failure(whole, doctor):
    whole.pods = []
    statuses = [container("i2i-unlearn:0.1.0", waiting="ImagePullBackOff")]
    whole.add_pod("stuck", "w.root.split.executor", "r", container_statuses=statuses)
    code, lines = doctor("--cluster")
    assert code == 1
    assert "pod stuck cannot pull it (ImagePullBackOff)" in lines["image"]["found"]


def test_an_image_that_nobody_has_run_is_unknown(whole, doctor, tmp_path):
    whole.pods = []
    _, lines = doctor("--cluster")
    assert (lines["image"]["state"], "names no registry" in lines["image"]["found"]) == ("warn", True)
    text = (ROOT / "pipelines/unlearning.yaml").read_text()
    (tmp_path / "p.yaml").write_text(text.replace("image: i2i-unlearn:0.1.0", "image: registry.example.com/i2i:1"))
    whole.accounts = [account("default"), account("i2i-unlearn-runner", ["registry"])]
    _, lines = doctor("--cluster", "--package", tmp_path / "p.yaml")
    assert lines["image"]["state"] == "warn"
    assert "accounts with imagePullSecrets: i2i-unlearn-runner" in lines["image"]["found"]


@pytest.mark.parametrize(
    "reply", [Reply(401, {"message": "no"}), Reply(500, {"message": "no"}), Reply(200, b"<html>", "text/html"), "hang"]
)
def test_servers_that_do_not_answer_are_one_line_each(kubernetes, kubeflow, doctor, reply):
    kubernetes.always = kubeflow.always = reply
    code, lines = doctor("--cluster", "--timeout", "0.5", "--host", kubeflow.url)
    assert (code, set(lines)) == (1, {"mlflow", "kubeflow", "kubernetes"})
    assert lines["kubernetes"]["state"] == lines["kubeflow"]["state"] == "fail"


def test_without_kubernetes_or_kubeflow_each_is_a_line(doctor):
    code, lines = doctor("--cluster")
    assert code == 1
    assert "set KUBECONFIG" in lines["kubernetes"]["found"]
    assert "port-forward" in lines["kubeflow"]["found"]


def test_nobody_is_asked_unless_told_to(whole, kubeflow, doctor):
    assert doctor()[0] == 0
    assert whole.requests == kubeflow.requests == []


# --- Kubeflow Pipelines ---


def test_kubeflow_s_features_are_asked_for(kubeflow, doctor):
    _, lines = doctor("--host", kubeflow.url)
    assert {lines[f"kubeflow {what}"]["state"] for what in ("runs", "pipelines", "recurring runs")} == {"ok"}
    kubeflow.refuse("list_recurring", Reply(404, {"message": "Not Found"}))
    code, lines = doctor("--host", kubeflow.url)
    assert code == 1
    assert lines["kubeflow recurring runs"]["state"] == "fail"
    assert lines["kubeflow runs"]["state"] == "ok"


def test_a_kubeflow_that_keeps_users_apart_wants_a_namespace(doctor):
    with KubeflowStub(multi_user=True).served() as kubeflow:
        _, lines = doctor("--host", kubeflow.url)
        assert lines["kubeflow"]["state"] == "warn"
        assert "--namespace" in lines["kubeflow"]["advice"]
        assert doctor("--host", kubeflow.url, "--namespace", "team-a")[1]["kubeflow"]["state"] == "ok"


@pytest.mark.parametrize(
    ("told", "state"),
    [("2.17.3", "ok"), ("v2.18.0", "ok"), ("2.14.3", "warn"), ("1.8.22", "fail"), ("", "warn"), ("master", "warn")],
)
def test_the_version_of_kubeflow_against_the_sdk(monkeypatch, told, state):
    monkeypatch.setattr(kfp, "__version__", "2.17.0")
    assert of_kubeflow.version(told).state == state


def test_the_version_is_read_from_what_the_pages_server_adds(kubeflow, doctor):
    kubeflow.health = lambda *_: {"multi_user": False, "apiServerTagName": "2.14.3", "frontendTagName": "2.14.3"}
    _, lines = doctor("--host", kubeflow.url)
    assert lines["kubeflow version"]["found"].startswith("server 2.14.3")
    assert lines["kubeflow version"]["state"] == "warn"


def test_what_the_package_uses_is_told_and_doubted_where_the_server_is_older():
    package = ROOT / "pipelines/unlearning.yaml"
    line = of_kubeflow.features(package, "ok")
    assert line.state == "ok"
    for words in (
        "conditions",
        "a last step after a failure",
        "retries",
        "secrets, which may be missing",
        "memory from a field",
    ):
        assert words in line.found
    assert "loops" in line.found  # over the references
    assert "loops" not in of_kubeflow.features(ROOT / "pipelines/registry_check.yaml", "ok").found
    assert of_kubeflow.features(package, "warn").state == "warn"
    assert of_kubeflow.features(ROOT / "none.yaml", "ok").state == "warn"


def test_volume_secrets_and_accelerators_are_those_that_the_package_was_compiled_with(whole, doctor, tmp_path):
    spec, *rest = yaml.safe_load_all((ROOT / "pipelines/unlearning.yaml").read_text())
    names = {"volume_claim": "v", "hmac_key_secret": "h", "evidence_key_secret": "e", "accelerator_type": "amd.com/gpu"}
    carried(spec)["cluster"] |= names
    (tmp_path / "p.yaml").write_text(yaml.safe_dump_all([spec, *rest]))
    _, lines = doctor("--cluster", "--package", tmp_path / "p.yaml")
    assert [lines[name]["state"] for name in ("volume v", "secret h", "secret e")] == ["fail", "fail", "warn"]
    assert "generic h --from-file=hmac.key" in lines["secret h"]["advice"]
    assert lines["nodes with GPUs"]["found"].startswith("none of 4 nodes offers amd.com/gpu")


def test_a_package_that_names_nothing_is_a_failure_after_what_needs_no_package(whole, doctor, tmp_path):
    code, lines = doctor("--cluster", "--package", tmp_path / "none.yaml")
    assert (code, lines["kubernetes"]["state"], lines["may read logs"]["state"]) == (1, "ok", "ok")
    assert (lines["package"]["state"], "none.yaml" in lines["package"]["found"]) == ("fail", True)


def test_the_secrets_of_the_mlflow_server_are_asked_for():
    text = (ROOT / "k8s/base/mlflow/deployment.yaml").read_text()
    named = set(re.findall(r"secretKeyRef: \{name: ([\w-]+), key: ([\w-]+)\}", text))
    assert named <= {(secret, entry) for secret, entries in MLFLOW_SECRETS.items() for entry in entries}


def test_a_token_file_that_is_not_there_is_one_line(kubeflow, doctor, tmp_path):
    code, lines = doctor("--host", kubeflow.url, "--token-file", tmp_path / "none")
    assert code == 1
    assert lines["kubeflow"]["found"].startswith(f"{tmp_path}/none: cannot be read (No such file or directory)")
    assert lines["kubeflow"]["advice"] == ""  # it is no defect


def test_a_password_in_the_address_is_not_shown(kubeflow, doctor):
    code, lines = doctor("--host", kubeflow.url.replace("//", "//ada:pass@word@"))
    assert code == 0
    assert lines["kubeflow"]["found"].startswith(f"{kubeflow.url} answers")
    assert "word" not in json.dumps(lines)
