"""Put a compiled pipeline into Kubeflow's list, as a new pipeline or as a new version of one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.pipeline.cluster.connect import Pipelines, called
from i2i_unlearn.pipeline.cluster.rest import Refused
from i2i_unlearn.pipeline.cluster.submit import identified, quiet
from i2i_unlearn.pipeline.local.runner import read_package


@dataclass(frozen=True)
class Uploaded:
    """Where the package is now."""

    pipeline: str
    version: str
    pipeline_id: str
    version_id: str
    was_there: bool
    """The same version was already there, and nothing was done."""


def upload(api: Pipelines, package: Path, *, name: str = "", version: str = "", description: str = "") -> Uploaded:
    """Upload; without a `version`, it is named after the file's digest, so that the same file is one version.

    Raises:
        UserError: the package is not valid, the API cannot be reached or refuses, or that version is another file.
    """
    spec = read_package(package)
    name = name or spec["pipelineInfo"]["name"]
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    version = version or digest[:12]
    description = description or spec["pipelineInfo"].get("description", "")
    stamped = f"{description} (sha256 {digest})".strip()
    pipeline_id = _pipeline_id(api, name)
    if pipeline_id is None:
        # A version of the caller's name comes next: uploading a pipeline would name its first version itself.
        made = api.client.pipelines.pipeline_service_create_pipeline(
            api.client.api_models.V2beta1Pipeline(
                display_name=name, description=spec["pipelineInfo"].get("description"), namespace=api.namespace
            )
        )
        pipeline_id = identified(made.pipeline_id, "pipeline")
    for known in _versions(api, pipeline_id):
        if known.display_name == version:
            if f"sha256 {digest}" not in (known.description or ""):
                raise Refused(
                    f"{name} has a version {version!r} made of another file; choose another with --version", 409
                )
            return Uploaded(name, version, pipeline_id, identified(known.pipeline_version_id, "version"), True)
    with quiet():
        new = api.client.upload_pipeline_version(
            str(package), pipeline_version_name=version, pipeline_id=pipeline_id, description=stamped
        )
    return Uploaded(name, version, pipeline_id, identified(new.pipeline_version_id, "version"), False)


def _pipeline_id(api: Pipelines, name: str) -> str | None:
    """Kubeflow's own `get_pipeline_id` does not look into a namespace."""
    found = api.client.list_pipelines(filter=called(name), namespace=api.namespace)
    return next((one.pipeline_id for one in found.pipelines or [] if one.display_name == name), None)


def _versions(api: Pipelines, pipeline_id: str) -> list[Any]:
    versions: list[Any] = []
    token = ""
    while True:
        page = api.client.list_pipeline_versions(pipeline_id, page_token=token, page_size=100)
        versions += page.pipeline_versions or []
        token = page.next_page_token or ""
        if not token:
            return versions
