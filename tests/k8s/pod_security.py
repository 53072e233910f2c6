"""The rules of the *restricted* Pod Security Standard that an API server's admission checks.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ ; baseline's rules are part of restricted.
"""

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def faults(spec: Spec) -> list[str]:
    """Broken rules of a pod's spec; empty if admission would let it in."""
    return [*_of_pod(spec), *(fault for container in _containers(spec) for fault in _of_container(spec, container))]


def _containers(spec: Spec) -> list[Spec]:
    return [one for kind in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(kind) or []]


def _of_pod(spec: Spec) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    for volume in spec.get("volumes") or []:
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    context = spec.get("securityContext") or {}
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_context(context, "pod")


def _of_container(spec: Spec, container: Spec) -> Iterator[str]:
    name, context = container["name"], container.get("securityContext") or {}
    whole = {**(spec.get("securityContext") or {}), **context}
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation is not false"
    if whole.get("runAsNonRoot") is not True:
        yield f"{name}: runAsNonRoot is not true"
    if (whole.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: no seccomp profile"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{name}: capabilities are not dropped"
    for added in set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capability {added} is added"
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"{name}: host port {port['hostPort']}"
    yield from _of_context(context, name)


def _of_context(context: Spec, where: str) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield f"{where}: runs as user 0"
    if context.get("procMount", "Default") != "Default":
        yield f"{where}: procMount {context['procMount']}"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield f"{where}: AppArmor is off"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield f"{where}: seccomp is off"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{where}: host process"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{where}: SELinux options"
