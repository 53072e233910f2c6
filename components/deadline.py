"""Step `deadline`: see `i2i_unlearn.registry.requests`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deadline(settings: dict) -> str:
    """Say whether a request of this run is past its last day: overdue or in time."""
    from i2i_unlearn.registry.requests import deadlines

    return deadlines(settings["cluster"]["requests_folder"], ",".join(settings["split"]["requests"]))["outcome"]
