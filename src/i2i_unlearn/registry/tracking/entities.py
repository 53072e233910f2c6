"""What MLflow holds, in the words of this project."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CURVES = "steps/"
"""Prefix of the training curves' names."""
CHAMPION = "champion"
ACCEPTED = "accepted_undecided"
"""Tag of a version that a person promoted although its gate was undecided: the reason."""
CANDIDATE = "candidate"
PROMOTED = "promoted_at"
"""Tag of a version: when it was first promoted. From then on its record is only added to."""
FURTHER = "further_evaluations"
"""Tag of a promoted version: ids of the runs that evaluated it later."""
DEFAULT_DATABASE = "mlflow.db"
DEFAULT_ARTIFACTS = "mlflow-artifacts"
MODEL = "model"
MODEL_PATH = f"artifacts/{MODEL}"
"""Where the model directory is among a version's files."""
SERVING = (
    *("mlflow", "numpy", "pandas", "pyarrow", "fsspec", "pillow", "pydantic", "pyyaml", "rich"),
    *("diffusers", "safetensors", "torch", "torchvision", "transformers"),
)
"""What loading and completing imports, in the versions installed here."""
MOST_CHARACTERS = 6000
"""Longest value of a parameter that MLflow accepts."""
MOST_TAG = 5000
"""Longest value of a tag written here; every server accepts at least this."""
PARENT = "mlflow.parentRunId"
"""Tag by which MLflow nests a run in another."""
ATTEMPT = "attempt"
"""Tag that distinguishes the two runs made by one request whose answer was lost."""
MOST_POINTS = 1000
"""Most points of a curve that are logged; the whole curve is an artifact."""


@dataclass(frozen=True)
class Logged:
    """A model that MLflow holds."""

    id: str
    saved_sha256: str
    """Digest of all files of it: weights, package, requirements, MLmodel."""


@dataclass(frozen=True)
class Version:
    """A registered version."""

    model_name: str
    number: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    logged: Logged
    """What it was registered from."""

    def requests(self) -> list[str]:
        """Ids of all requests this version has forgotten, sorted: those it was made for and the earlier ones."""
        return sorted({*names(self.tags.get("requests", "")), *names(self.tags.get("erased", ""))})


@dataclass(frozen=True)
class Served:
    """How the registered model is run."""

    image_size: tuple[int, int]
    """(height, width) in pixels."""
    num_channels: int
    model_config: Mapping[str, str | int | float]
    """operator, keep_fraction, operator_patch_size, seed, model, operators (judged): read by `pyfunc_model`."""
    own_code: Path | None = None
    """Package or file of the user's own class, which is saved with the weights."""


def names(tag: str) -> list[str]:
    """The ids in a tag that lists some: "a,b" -> ["a", "b"]; "" -> []."""
    return [name for name in tag.split(",") if name]
