"""Step `unlearn`: see `i2i_unlearn.stages.unlearn`, and for several nodes `i2i_unlearn.pipeline.cluster.train_job`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def unlearn(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    settings: dict,
    run_id: str,
    unlearned: dsl.Output[dsl.Model],
):
    """Make the model forget the forget set; a retry goes on from the last checkpoint."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.pipeline.cluster import train_job as stage

    config, cluster = sections.UnlearnConfig(**settings["unlearn"]), sections.ClusterConfig(**settings["cluster"])
    unlearned.metadata.update(stage.run("unlearn", images, splits.path, f"{teacher.path}/model", unlearned.path, config,
                                        cluster, run_id=run_id,
                                        stream=step_outputs.live_curves(cluster.mlflow_tracking_uri)))  # fmt: skip
