"""The Kubeflow pipeline that checks the registry against the promotion ledger; made to be a recurring run.

Compile with `i2i-unlearn pipeline compile`; the result, registry_check.yaml, needs neither this folder nor params.yaml.
"""

from kfp import dsl

from components.registry_check import registry_check as check
from i2i_unlearn.config.sections import PromoteConfig
from pipelines.shared import CLUSTER, PARAMS, on_volume, retried

SETTINGS = {config.section: config.model_dump(mode="json") for config in (PromoteConfig.from_params(PARAMS), CLUSTER)}


@dsl.pipeline(name="check-of-registry")  # kfp.local takes a step of the same name for the pipeline
def registry_check(model_name: str = PARAMS["register"]["model_name"]):
    """Check that the champion in MLflow is the version that was promoted; the run fails if it is not.

    Args:
        model_name: Name of the registered model in MLflow whose champion is checked.
    """
    step = check(model_name=model_name, settings=SETTINGS)
    on_volume(step)
    retried(step)
