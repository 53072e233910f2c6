"""Step `reference`: see `i2i_unlearn.stages.reference`."""

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
    seed: int,
    checkpoint_uri: str,
    settings: dict,
    reference: dsl.Output[dsl.Model],
):
    """Retrain without the forget set, to compare with; kind `none` writes no model."""
    from i2i_unlearn.config import ReferenceConfig
    from i2i_unlearn.stages import reference as stage

    config = ReferenceConfig(kind=kind, operator=operator, keep_fraction=keep_fraction, device=device, seed=seed,
                             checkpoint_uri=checkpoint_uri, num_processes=accelerator_count, **settings)  # fmt: skip
    reference.metadata.update(stage.run(images, splits.path, f"{teacher.path}/model", reference.path, config))
