"""Step `warn-overdue`: runs only if a request is past its last day."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def warn_overdue(requests_folder: str, requests: str, warning: dsl.Output[dsl.Markdown]):
    """Show which requests are overdue, since when."""
    from i2i_unlearn import kfp_artifacts
    from i2i_unlearn.stages import deadline as stage

    kfp_artifacts.show_facts(stage.run(requests_folder, requests), warning)
