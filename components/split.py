"""Step `split`: see `i2i_unlearn.stages.split`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def split(images: str, settings: dict, splits: dsl.Output[dsl.Dataset]):
    """Give every image its role: the requests' images are the forget set."""
    from i2i_unlearn.config.sections import SplitConfig
    from i2i_unlearn.stages import split as stage

    config = SplitConfig(**settings["split"])
    splits.metadata.update(stage.run(images, settings["cluster"]["requests_folder"], splits.path, config))
