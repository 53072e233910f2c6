"""What the pipelines have in common: the compiled settings, the volume, accelerators and retries."""

from pathlib import Path
from typing import Any

from kfp import dsl, kubernetes

from i2i_unlearn.config.sections import ClusterConfig, as_read, load_params
from i2i_unlearn.evaluation.gate import read_policies

ROOT = Path(__file__).parent.parent
PARAMS = as_read(load_params(ROOT / "params.yaml"))
POLICIES = read_policies(ROOT / "mlflow/policies")
CLUSTER = ClusterConfig.from_params(PARAMS)

WORKDIR = "/workspace"
"""Working directory of the image. The volume is mounted there, so that a relative path (data/images, promotions.jsonl)
means the same in a pod and in a checkout."""

SHARED_MEMORY = "1Gi"


def on_volume(*steps: dsl.PipelineTask) -> None:
    """Give the steps the volume, and compute them in every run."""
    for step in steps:
        uncached(step)
        kubernetes.mount_pvc(step, CLUSTER.volume_claim, WORKDIR)


def uncached(step: dsl.PipelineTask) -> None:
    """Compute the step in every run: new images or requests under the same name would bring back the old result.

    The backend's cache key holds parameters and artifact ids, not the bytes at a URI.
    """
    step.set_caching_options(False)


def with_hmac_key(step: dsl.PipelineTask) -> None:
    """Show the step the key for pseudonymous image ids."""
    kubernetes.use_secret_as_volume(step, CLUSTER.hmac_key_secret, f"{WORKDIR}/.secrets", optional=True)


def on_accelerators(*steps: dsl.PipelineTask, count: Any, memory: Any) -> None:
    """Let the form say how many accelerators and how much memory the steps get; the rest the cluster fixes."""
    for step in steps:
        # kfp 2.17 hands resource parameters to the step but not to the exit handler's DAG around it; this does.
        step.register_pipeline_channels([count, memory])
        step.set_accelerator_type(CLUSTER.accelerator_type).set_accelerator_limit(count).set_memory_limit(memory)
        for label, value in CLUSTER.node_selector.items():
            kubernetes.add_node_selector(step, label, value)
        kubernetes.add_toleration_json(step, CLUSTER.tolerations)
        # A container's /dev/shm has 64 MiB, too little where several processes exchange gradients. kfp 2.17 takes the
        # size as a constant; what is used of it counts as the step's memory.
        kubernetes.empty_dir_mount(step, "shared-memory", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)


def retried(*steps: dsl.PipelineTask) -> None:
    """Try the steps again after a lost pod, with growing pauses."""
    for step in steps:
        step.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0)
