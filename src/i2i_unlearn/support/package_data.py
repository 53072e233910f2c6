"""Files that projects are made from: in the wheel, or in the checkout that it is built from."""

from pathlib import Path

import i2i_unlearn
from i2i_unlearn.support.errors import UserError

_IN_CHECKOUT = {
    "policies": "mlflow/policies",
    "model_card.md.j2": "mlflow/model_card.md.j2",
    "presets": "presets",
    "params.yaml": "params.yaml",
    "kubeflow": ".",
}
"""Name -> place below a checkout's root. pyproject.toml puts each into the wheel under its name."""


def package_data(name: str) -> Path:
    """A file or folder: policies, model_card.md.j2, presets, params.yaml (the demo's), kubeflow.

    `kubeflow` holds the folders components/ and pipelines/. In the wheel all are in i2i_unlearn/package_data; an
    editable installation, and a program in a checkout, have those of the checkout.

    Raises:
        UserError: neither is there; the installation is incomplete.
    """
    package = Path(i2i_unlearn.__file__).parent
    for found in (package / "package_data" / name, package.parents[1] / _IN_CHECKOUT[name]):
        if found.exists():
            return found
    raise UserError(f"{package}: the package was installed without its {name}; install the wheel, or from a checkout")
