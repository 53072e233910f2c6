"""Step `deadline`: see `i2i_unlearn.registry.requests`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deadline(requests_folder: str, requests: str) -> str:
    """Say whether a request of this run is past its last day: overdue or in time."""
    from i2i_unlearn.registry.requests import deadlines

    return deadlines(requests_folder, requests)["outcome"]
