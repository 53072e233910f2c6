"""The Kubeflow pipeline that checks the registry against the promotion record; made to be a recurring run.

Compile with `i2i-unlearn pipeline compile`; the result, registry_check.yaml, needs neither this folder nor params.yaml.
"""

from kfp import dsl, kubernetes

from components.registry_check import registry_check as check
from pipelines.unlearning import PARAMS, WORKDIR, stage_settings

ON_FORM = {"promote": {"ledger"}}
SETTINGS = {stage: stage_settings(stage, ON_FORM[stage]) for stage in ON_FORM}


@dsl.pipeline(name="check-of-registry")  # kfp.local takes a step of the same name for the pipeline
def registry_check(
    model_name: str = PARAMS["register"]["model_name"],
    ledger: str = PARAMS["promote"]["ledger"],
    mlflow_tracking_uri: str = "",
    volume_claim: str = "i2i-unlearn",
):
    """Check that the champion in MLflow is the version that was promoted; the run fails if it is not.

    Args:
        model_name: Name of the registered model in MLflow whose champion is checked.
        ledger: Path of the promotion record (JSON lines); a relative path lies on the volume.
        mlflow_tracking_uri: Address of the MLflow server, for example http://mlflow.mlflow:5000. Empty for the one
            that the environment variable MLFLOW_TRACKING_URI names.
        volume_claim: Name of the PersistentVolumeClaim mounted as working directory of every step; relative paths
            of this form lie on it. It must exist (ReadWriteMany where the cluster has several nodes).
    """
    step = check(
        model_name=model_name,
        ledger=ledger,
        mlflow_tracking_uri=mlflow_tracking_uri,
        settings=SETTINGS["promote"],
    )
    step.set_caching_options(False)
    kubernetes.mount_pvc(step, volume_claim, WORKDIR)
    step.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0)
