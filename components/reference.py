"""Step `reference`: see `stages.reference`, and for several nodes `pipeline.cluster.train_job`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def reference(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    kind: str,
    operator: str,
    keep_fraction: float,
    device: str,
    accelerator_count: str,
    train_job_nodes: int,
    train_job_gpus: int,
    train_job_queue: str,
    train_job_priority: str,
    seed: int,
    checkpoint_uri: str,
    run_id: str,
    settings: dict,
    train_job: dict,
    reference: dsl.Output[dsl.Model],
):
    """Retrain without the forget set, to compare with; kind `none` writes no model."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline.cluster import train_job as stage

    settings = sections.ReferenceConfig(kind=kind, operator=operator, keep_fraction=keep_fraction, device=device,
                                      seed=seed, checkpoint_uri=checkpoint_uri, num_processes=accelerator_count,
                                      **settings)  # fmt: skip
    job = sections.TrainJobConfig(nodes=train_job_nodes, gpus_per_node=train_job_gpus, queue=train_job_queue,
                                priority=train_job_priority, **train_job)  # fmt: skip
    reference.metadata.update(stage.run("reference", images, splits.path, f"{teacher.path}/model", reference.path,
                                        settings, job, run_id=run_id))  # fmt: skip
