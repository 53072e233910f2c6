"""Step `registry-check`: see `i2i_unlearn.registry.check`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def registry_check(
    model_name: str, ledger: str, mlflow_tracking_uri: str, settings: dict, checked: dsl.Output[dsl.Markdown]
):
    """Compare the champion in MLflow with the promotion record; fail if something differs."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.registry import check as stage

    step_outputs.use_tracking_server(mlflow_tracking_uri)
    facts = stage.run(sections.PromoteConfig(ledger=ledger, **settings), model_name)
    step_outputs.show_facts(facts, checked)
