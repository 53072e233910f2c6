"""Step `snapshot`: see `i2i_unlearn.stages.snapshot`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def snapshot(settings: dict, teacher: dsl.Output[dsl.Model]):
    """Freeze the model that is to forget; the copy is the teacher."""
    from i2i_unlearn.config.sections import SnapshotConfig
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import snapshot as stage

    step_outputs.use_tracking_server(settings["cluster"]["mlflow_tracking_uri"])
    teacher.metadata.update(stage.run(teacher.path, SnapshotConfig(**settings["snapshot"])))
