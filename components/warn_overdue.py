"""Step `warn-overdue`: runs only if a request is past its last day."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def warn_overdue(settings: dict, warning: dsl.Output[dsl.Markdown]):
    """Show which requests are overdue, and since when."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.registry.requests import deadlines

    facts = deadlines(settings["cluster"]["requests_folder"], ",".join(settings["split"]["requests"]))
    step_outputs.show_facts(facts, warning)
