"""Step `record-sweep`: see `i2i_unlearn.stages.record_sweep`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def record_sweep(
    table: dsl.Input[dsl.Artifact], experiment: str, mlflow_tracking_uri: str, recorded: dsl.Output[dsl.Markdown]
):
    """Log the sweep to MLflow: a run, and a nested run for each point."""
    from i2i_unlearn import kfp_artifacts
    from i2i_unlearn.stages import record_sweep as stage

    kfp_artifacts.use_tracking_server(mlflow_tracking_uri)
    kfp_artifacts.show_facts(stage.run(table.path, experiment), recorded)
