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
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import promote as stage

    step_outputs.use_tracking_server(mlflow_tracking_uri)
    facts = stage.run(
        sections.PromoteConfig(**settings), sections.RegisterConfig(**params["register"]), version=version
    )
    step_outputs.show_facts(facts, promoted)
