"""Step `registry-check`: see `i2i_unlearn.registry.check`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def registry_check(model_name: str, settings: dict, checked: dsl.Output[dsl.Markdown]):
    """Compare the champion in MLflow with the promotion ledger; fail if something differs."""
    from i2i_unlearn.config.sections import PromoteConfig
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.registry import check as stage

    step_outputs.use_tracking_server(settings["cluster"]["mlflow_tracking_uri"])
    step_outputs.show_facts(stage.run(PromoteConfig(**settings["promote"]), model_name), checked)
