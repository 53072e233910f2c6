"""Step `record-sweep`: see `i2i_unlearn.sweeps.record`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def record_sweep(table: dsl.Input[dsl.Artifact], settings: dict, recorded: dsl.Output[dsl.Markdown]):
    """Log the sweep to MLflow: a run, and a nested run for each point."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.sweeps import record as stage

    step_outputs.use_tracking_server(settings["cluster"]["mlflow_tracking_uri"])
    step_outputs.show_facts(stage.run(table.path, settings["register"]["experiment"]), recorded)
