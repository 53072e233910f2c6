"""Step `reference`: see `stages.reference`, and for several nodes `pipeline.cluster.train_job`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def reference(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    settings: dict,
    run_id: str,
    reference: dsl.Output[dsl.Model],
):
    """Retrain without the forget set, to compare with, as often as `settings` say: one each in `unlearning`."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline.cluster import train_job as stage

    config, cluster = sections.ReferenceConfig(**settings["reference"]), sections.ClusterConfig(**settings["cluster"])
    reference.metadata.update(stage.run("reference", images, splits.path, f"{teacher.path}/model", reference.path,
                                        config, cluster, run_id=run_id))  # fmt: skip
