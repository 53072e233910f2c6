"""Ask the registry for the promoted model, without waking it where there is none."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from i2i_unlearn.registry.tracking import Champion


def has_registry() -> bool:
    """Whether anything may have been registered from here; importing MLflow takes seconds and makes a database."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path("mlflow.db").exists()


def find_champion(model_name: str) -> "Champion | None":
    """The promoted version of `model_name`, or None.

    Raises:
        UserError: the registry cannot be reached.
    """
    if not has_registry():
        return None
    from i2i_unlearn.registry import tracking

    return tracking.champion(model_name)
