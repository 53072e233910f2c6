"""Step `unlearn`: see `i2i_unlearn.stages.unlearn`, and for several nodes `i2i_unlearn.pipeline.cluster.train_job`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def unlearn(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    objective: str,
    alpha: float,
    epsilon: float,
    num_steps: int,
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
    mlflow_tracking_uri: str,
    run_id: str,
    settings: dict,
    train_job: dict,
    unlearned: dsl.Output[dsl.Model],
):
    """Make the model forget the forget set; a retry goes on from the last checkpoint."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.pipeline.cluster import train_job as stage

    settings = sections.UnlearnConfig(objective=objective, alpha=alpha, epsilon=epsilon, num_steps=num_steps,
                                    operator=operator, keep_fraction=keep_fraction, device=device, seed=seed,
                                    checkpoint_uri=checkpoint_uri, num_processes=accelerator_count,
                                    **settings)  # fmt: skip
    job = sections.TrainJobConfig(nodes=train_job_nodes, gpus_per_node=train_job_gpus, queue=train_job_queue,
                                priority=train_job_priority, **train_job)  # fmt: skip
    unlearned.metadata.update(stage.run("unlearn", images, splits.path, f"{teacher.path}/model", unlearned.path,
                                        settings, job, run_id=run_id,
                                        stream=step_outputs.live_curves(mlflow_tracking_uri)))  # fmt: skip
