"""Step `registry-check`: see `i2i_unlearn.stages.registry_check`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def registry_check(
    model_name: str, ledger: str, mlflow_tracking_uri: str, settings: dict, checked: dsl.Output[dsl.Markdown]
):
    """Compare the champion in MLflow with the promotion record; fail if something differs."""
    from i2i_unlearn import config, kfp_artifacts
    from i2i_unlearn.stages import registry_check as stage

    kfp_artifacts.use_tracking_server(mlflow_tracking_uri)
    facts = stage.run(config.PromoteConfig(ledger=ledger, **settings), model_name)
    kfp_artifacts.show_facts(facts, checked)
