"""Step `promote`: see `i2i_unlearn.stages.promote`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promote(
    version: str,
    params: dict,
    mlflow_tracking_uri: str,
    settings: dict,
    promoted: dsl.Output[dsl.Markdown],
):
    """Make the registered version the champion and write it into the promotion record."""
    from i2i_unlearn import config, kfp_artifacts
    from i2i_unlearn.stages import promote as stage

    kfp_artifacts.use_tracking_server(mlflow_tracking_uri)
    facts = stage.run(config.PromoteConfig(**settings), config.RegisterConfig(**params["register"]), version=version)
    kfp_artifacts.show_facts(facts, promoted)
