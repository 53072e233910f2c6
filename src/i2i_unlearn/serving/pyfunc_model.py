"""What MLflow runs when it loads a registered version: models from code, so nothing is unpickled.

    images = numpy.uint8 (B, H, W, C)
    completed = mlflow.pyfunc.load_model("models:/NAME@champion").predict(images)

For picture files in base64 and the caller's own masks see serving/payload.py. The operator is the one that the version
was registered with, unless `params` names another; hidden pixels are filled, the others are returned unchanged. Where
I2I_UNLEARN_GUARD names a filter (guard/), what it refuses is returned as a refusal in place of an image. MLflow copies
this file next to the weights and the package into its `code` folder.
"""

import logging
from typing import Any

import numpy as np
import torch

from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.registry.tracking import BadInput, PythonModel, set_model
from i2i_unlearn.serving.completion import OWN_MASKS, Completer, warning_of
from i2i_unlearn.serving.guard import guard_from_environment
from i2i_unlearn.serving.payload import Asked, answer, read_payload
from i2i_unlearn.support.errors import UserError

_LOG = logging.getLogger("i2i_unlearn.serving")


class Completion(PythonModel):
    """Completes images with the model directory among the version's artifacts."""

    def load_context(self, context: Any) -> None:
        """Read the model directory and the operator that the version was registered with."""
        self.served = dict(context.model_config)
        self.model = load_model(context.artifacts["model"], self.served["model"])
        self.guard = guard_from_environment(context.artifacts["model"])
        self.warned: set[str] = set()

    # MLflow reads the hint of `model_input` and warns of those it does not know; it knows the bare numpy.ndarray.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """Complete images; the same images give the same result, whatever was asked before.

        Raises:
            BadInput: the images, or the operator in `params`, are not what the model takes.
        """
        try:
            asked = read_payload(model_input, self.model.image_size, self.model.num_channels)
            completed_BHWC = self._complete(asked, {**self.served, **(params or {})})
        except UserError as error:
            raise BadInput(str(error)) from None
        if self.guard is None:
            return answer(asked, completed_BHWC)
        return answer(asked, completed_BHWC, self.guard.refuses(asked.images_BHWC, completed_BHWC))

    def _warn(self, what: str) -> None:
        """Into the server's log, once for each operator."""
        if what and what not in self.warned:
            self.warned.add(what)
            _LOG.warning(what)

    def _complete(self, asked: Asked, how: dict[str, Any]) -> np.ndarray:
        if not 0 < how["keep_fraction"] < 1:
            raise UserError(f"keep_fraction={how['keep_fraction']} must lie between 0 and 1; send such a number")
        if not 0 <= how["seed"] < 2**63:
            raise UserError(f"seed={how['seed']} must be a whole number from 0 to 2^63 - 1; send one")
        operator = make_operator(how["operator"], how["keep_fraction"], how["operator_patch_size"])
        self._warn(warning_of(operator, str(how.get("operators", ""))))
        completer = Completer(self.model, operator)
        generator = torch.Generator().manual_seed(how["seed"])
        if all(mask_HW is None for mask_HW in asked.visible):
            return completer(asked.images_BHWC, None, generator)
        self._warn(OWN_MASKS if how.get("operators") else "")
        drawn = completer.masks(len(asked.visible), generator)
        masks = [own if mask is None else mask for own, mask in zip(drawn, asked.visible, strict=True)]
        return completer(asked.images_BHWC, np.stack(masks), generator)


set_model(Completion())
