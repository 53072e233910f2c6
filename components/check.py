"""Step `check`: a mistyped field stops the run in seconds, not after the training."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(form: dict, promote: str, accelerator_count: str, params: dict, policies: list) -> NamedTuple(
    "Checked", [("settings", dict), ("Output", list[dict])]
):
    """Check the run form with the compiled settings; return what every stage will use, and that of each reference."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.pipeline.form import check_unlearning_form

    step_outputs.use_tracking_server(params["cluster"]["mlflow_tracking_uri"])
    return check_unlearning_form(form, params, promote=promote, accelerator_count=accelerator_count, policies=policies)
