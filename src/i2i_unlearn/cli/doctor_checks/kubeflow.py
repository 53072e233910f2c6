"""Kubeflow Pipelines: whether it answers, lets us in, is as new as the SDK, and supports what the package uses."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_unlearn.cli.doctor_checks.base import Check, Line, State, numbers
from i2i_unlearn.support.errors import UserError

if TYPE_CHECKING:
    from i2i_unlearn.pipeline.cluster.connect import Pipelines, Where

NAME = "kubeflow"
TELLING = ("apiServerTagName", "tag_name", "api_server_tag_name", "frontendTagName")
"""Fields of a healthz reply that hold a version: of the pages' server, and of the API before v2beta1."""


FEATURES = {
    "ALL_UPSTREAM_TASKS_COMPLETED": "a last step after a failure",
    "triggerPolicy": "conditions",
    "parameterIterator": "loops",
    "retryPolicy": "retries",
    "resourceMemoryLimit": "memory from a field",
    "resourceCount": "accelerators from a field",
    "pvcNameParameter": "volumes",
    "secretNameParameter": "secrets, which may be missing",
    "nodeSelectorJson": "node selectors",
    "tolerationJson": "tolerations",
    "emptyDirMounts": "shared memory and temporary folders",
}
"""Words of a compiled package (specification and platform), and the backend feature that each needs."""


def kubeflow(where: Callable[[], "Where"], package: Path) -> Check:
    """The API at `where`, which needs kfp; `package`: the compiled pipeline to run."""

    def check() -> Iterator[Line]:
        try:
            at = where()
            from i2i_unlearn.pipeline.cluster.connect import connect

            with connect(at) as api:
                yield from _answers(api, package)
        except (UserError, OSError) as error:
            yield Line(NAME, "fail", str(error), "")

    return check


def _answers(api: "Pipelines", package: Path) -> Iterator[Line]:
    health = api.health()
    told = json.loads(api.client._run_api.api_client.last_response.data)
    users = "keeps users apart" if health.multi_user else "one user"
    found = f"{api.host} answers ({users}, pipelines kept in {health.pipeline_store or 'its database'})"
    if health.multi_user and not api.namespace:
        yield Line(NAME, "warn", found, "name your namespace with --namespace")
    else:
        yield Line(NAME, "ok", found)
    server = version(next((str(told[key]) for key in TELLING if told.get(key)), ""))
    yield server
    yield features(package, server.state)
    for what, ask in _used(api).items():
        try:
            ask()
        except UserError as error:
            yield Line(f"kubeflow {what}", "fail", str(error), "")
        else:
            yield Line(f"kubeflow {what}", "ok", "can be listed")


def _used(api: "Pipelines") -> dict[str, Any]:
    """What the commands ask of the API."""
    return {
        "runs": lambda: api.client.list_runs(page_size=1, namespace=api.namespace),
        "pipelines": lambda: api.client.list_pipelines(page_size=1, namespace=api.namespace),
        "recurring runs": lambda: api.client.list_recurring_runs(page_size=1, namespace=api.namespace),
    }


def version(server: str) -> Line:
    """The backend must know the fields that the SDK's compiler writes (volumes, secrets, resources from parameters).

    `server` empty: it does not report one.
    """
    import kfp

    name, ours = "kubeflow version", numbers(kfp.__version__)
    if not numbers(server):
        advice = f"check the image of the deployment ml-pipeline; it should be {kfp.__version__} or newer"
        return Line(name, "warn", f"the API does not report its version; the SDK's is {kfp.__version__}", advice)
    found, theirs = f"server {server}, SDK {kfp.__version__}", numbers(server)
    if theirs < (2,):
        return Line(name, "fail", found, "the compiled pipelines need Kubeflow Pipelines 2")
    if theirs[:2] < ours[:2]:
        advice = "upgrade Kubeflow Pipelines, or try one run: an older one may ignore fields that it does not know"
        return Line(name, "warn", found, advice)
    return Line(name, "ok", found)


def features(package: Path, version_state: State) -> Line:
    """Backend features that the package uses. The API does not list its features, so the version decides."""
    name = "kubeflow features"
    try:
        text = package.read_text()
    except FileNotFoundError:
        return Line(name, "warn", f"{package} is not here", "name the compiled pipeline with --package")
    used = [words for word, words in FEATURES.items() if f"{word}:" in text or f": {word}\n" in text]
    found = f"{package} uses {', '.join(used) or 'no special feature'}"
    if version_state == "ok" or not used:
        return Line(name, "ok", found)
    return Line(name, "warn", found, "an older backend may ignore what it does not know; try one run and look")
