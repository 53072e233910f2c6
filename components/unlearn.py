"""Step `unlearn`: see `i2i_unlearn.stages.unlearn`."""

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
    seed: int,
    checkpoint_uri: str,
    mlflow_tracking_uri: str,
    settings: dict,
    unlearned: dsl.Output[dsl.Model],
):
    """Make the model forget the forget set; a retry goes on from the last checkpoint."""
    from i2i_unlearn import config, kfp_artifacts
    from i2i_unlearn.stages import unlearn as stage

    settings = config.UnlearnConfig(objective=objective, alpha=alpha, epsilon=epsilon, num_steps=num_steps,
                                    operator=operator, keep_fraction=keep_fraction, device=device, seed=seed,
                                    checkpoint_uri=checkpoint_uri, num_processes=accelerator_count,
                                    **settings)  # fmt: skip
    stream = kfp_artifacts.live_curves(mlflow_tracking_uri)
    unlearned.metadata.update(stage.run(images, splits.path, f"{teacher.path}/model", unlearned.path, settings,
                                        stream=stream))  # fmt: skip
