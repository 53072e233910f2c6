"""Pipelines as custom resources of Kubernetes, for clusters that keep them so (`kubectl apply`, GitOps)."""

import hashlib
import re
from pathlib import Path

from kfp import components
from kfp.compiler import Compiler, KubernetesManifestOptions

from i2i_unlearn.pipeline.local.runner import read_package
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file

MAX_NAME = 253  # Kubernetes' names of this kind are DNS subdomains


def write_manifests(
    package: Path, out: Path, *, name: str = "", version: str = "", namespace: str = ""
) -> tuple[str, str]:
    """Write a Pipeline and a PipelineVersion for a compiled package; return their names.

    The version's name, unless given, ends with the package's digest: a version cannot be changed afterwards.

    Raises:
        UserError: the package is not valid, or Kubernetes would refuse a name.
    """
    spec = read_package(package)
    shown = spec["pipelineInfo"]["name"]
    name = name or f"i2i-unlearn-{shown}".replace("_", "-")
    version = version or f"{name}-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
    for given in (name, version, *([namespace] if namespace else [])):
        if len(given) > MAX_NAME or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", given):
            raise UserError(
                f"{given!r} is not a valid Kubernetes name; use lower-case letters, digits and -, no - at the ends"
            )
    options = KubernetesManifestOptions(
        pipeline_name=name,
        pipeline_display_name=shown,
        pipeline_version_name=version,
        pipeline_version_display_name=version.removeprefix(f"{name}-"),
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    pipeline = components.load_component_from_text(package.read_text())
    with atomic_file(out) as aside:
        Compiler().compile(pipeline, str(aside), kubernetes_manifest_options=options, kubernetes_manifest_format=True)
    return name, version
