"""What MLflow runs when it loads a registered version: models from code, so nothing is unpickled.

    images = numpy.uint8 (B, H, W, C)
    completed = mlflow.pyfunc.load_model("models:/NAME@champion").predict(images)

The operator is the one the version was registered with; its hidden pixels are filled, the others come back as given.
MLflow copies this file beside the weights and the package into its `code` folder.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2i_unlearn.models import load_model
from i2i_unlearn.operators import make_operator
from i2i_unlearn.pixels import to_float, to_uint8
from i2i_unlearn.tracking import PythonModel, set_model


class Completion(PythonModel):
    """Completes images with the model directory among the version's artifacts."""

    def load_context(self, context: Any) -> None:
        """Read the model directory and the operator that the version was registered with."""
        served = context.model_config
        self.model = load_model(context.artifacts["model"], served["model"])
        self.operator = make_operator(served["operator"], served["keep_fraction"], served["operator_patch_size"])
        self.seed = served["seed"]

    # MLflow reads the hint of `model_input` and warns of those it does not know; it knows the bare numpy.ndarray.
    def predict(
        self,
        context: Any,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> NDArray[np.uint8]:
        """Complete uint8 images (B, H, W, C); the same images give the same result, whatever was asked before."""
        images_BCHW = to_float(torch.from_numpy(np.ascontiguousarray(model_input)).permute(0, 3, 1, 2))
        generator = torch.Generator().manual_seed(self.seed)
        height, width = self.model.image_size
        visible_BHW = self.operator.draw(len(images_BCHW), height, width, generator)
        with torch.inference_mode():
            completed_BCHW = self.model.complete(images_BCHW, visible_BHW, generator=generator)
        completed_BHWC: NDArray[np.uint8] = to_uint8(completed_BCHW).permute(0, 2, 3, 1).contiguous().numpy()
        return completed_BHWC


set_model(Completion())
