"""Every pod meets the restricted Pod Security Standard; the checker itself sees each broken rule."""

import copy

import pytest

from tests.k8s.conftest import pods_in
from tests.k8s.pod_security import faults

GOOD = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "one",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "ports": [{"containerPort": 80}],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def changed(path, value):
    """GOOD with the value at `path` replaced; None takes it away."""
    pod = copy.deepcopy(GOOD)
    *parents, last = path
    place = pod
    for key in parents:
        place = place[key] if isinstance(key, int) else place.setdefault(key, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return pod


ONE = ("containers", 0, "securityContext")


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("hostNetwork",), True, "hostNetwork is set"),
        (("hostPID",), True, "hostPID is set"),
        (("hostIPC",), True, "hostIPC is set"),
        (("volumes", 0, "hostPath"), {"path": "/"}, "volume tmp is a hostPath"),
        (("securityContext", "sysctls"), [{"name": "kernel.msgmax"}], "sysctl kernel.msgmax"),
        (("securityContext", "runAsUser"), 0, "pod: runs as user 0"),
        (("securityContext", "runAsNonRoot"), None, "one: runAsNonRoot is not true"),
        (("securityContext", "seccompProfile"), None, "one: no seccomp profile"),
        (("securityContext", "seLinuxOptions"), {"type": "spc_t"}, "pod: SELinux options"),
        (("securityContext", "windowsOptions"), {"hostProcess": True}, "pod: host process"),
        ((*ONE, "privileged"), True, "one: privileged"),
        ((*ONE, "allowPrivilegeEscalation"), None, "one: allowPrivilegeEscalation is not false"),
        ((*ONE, "runAsNonRoot"), False, "one: runAsNonRoot is not true"),
        ((*ONE, "seccompProfile"), {"type": "Unconfined"}, "one: seccomp is off"),
        ((*ONE, "capabilities"), {"drop": ["NET_RAW"]}, "one: capabilities are not dropped"),
        ((*ONE, "capabilities"), {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "one: capability SYS_ADMIN is added"),
        ((*ONE, "procMount"), "Unmasked", "one: procMount Unmasked"),
        ((*ONE, "appArmorProfile"), {"type": "Unconfined"}, "one: AppArmor is off"),
        (("containers", 0, "ports", 0, "hostPort"), 80, "one: host port 80"),
        (("initContainers",), [{"name": "first"}], "first: allowPrivilegeEscalation is not false"),
    ],
)
def test_each_broken_rule_is_seen(path, value, fault):
    assert fault in faults(changed(path, value))


def test_a_pod_that_breaks_no_rule_is_let_in():
    assert faults(GOOD) == []


def test_every_pod_of_every_overlay_is_let_in(overlay):
    pods = list(pods_in(overlay))
    assert pods
    assert [fault for pod in pods for fault in faults(pod)] == []


def test_namespaces_enforce_the_standard(overlay):
    (namespace,) = (one for one in overlay if one["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_container_writes_to_its_root_file_system(overlay):
    for pod in pods_in(overlay):
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
