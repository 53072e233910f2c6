"""Step `promote`: see `i2i_unlearn.stages.promote`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promote(version: str, settings: dict, promoted: dsl.Output[dsl.Markdown]):
    """Make the registered version the champion and write it into the promotion ledger."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import promote as stage

    step_outputs.use_tracking_server(settings["cluster"]["mlflow_tracking_uri"])
    step_outputs.show_facts(stage.run(sections.PromoteConfig(**settings["promote"]),
                                      sections.RegisterConfig(**settings["register"]), version=version,
                                      requests=settings["cluster"]["requests_folder"]),
                            promoted)  # fmt: skip
