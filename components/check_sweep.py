"""Step `check-sweep`: a mistyped field stops the sweep in seconds; what comes out is the list of points."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check_sweep(form: dict, accelerator_count: str, params: dict, policies: list) -> NamedTuple(
    "Checked", [("settings", dict), ("Output", list[dict])]
):
    """Check the sweep's form; return what every stage will use, and the settings of each point."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.pipeline.form import check_sweep_form

    step_outputs.use_tracking_server(params["cluster"]["mlflow_tracking_uri"])
    return check_sweep_form(form, params, accelerator_count=accelerator_count, policies=policies)
