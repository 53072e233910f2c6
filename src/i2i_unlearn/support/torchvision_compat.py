"""Make `import torchvision` work where its compiled part does not load, as with a CPU build of torch.

torchvision on the Python package index is a CUDA build; with a CPU torch its operators are missing and its import
ends in "operator torchvision::nms does not exist". Declaring the two operators it asks for repairs the import:
transforms.v2, datasets, models and utils then work, `io` and `ops` do not. torchmetrics imports torchvision.
"""

from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[Any] = []  # a Library withdraws its operators when it is garbage-collected


def ensure_torchvision() -> None:
    """Import torchvision, repaired if its operators are missing; do nothing if it is not installed.

    Cheap after the first call.
    """
    try:
        import torchvision  # noqa: F401  the import itself is the test
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        _declare_operators()
        import torchvision  # noqa: F401


def _declare_operators() -> None:
    import torch.library

    make: Any = torch.library.Library  # carries no types in some versions of torch
    library = make("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
