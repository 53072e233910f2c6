"""Options that several commands share, and their defaults: a project's layout."""

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[str, typer.Option(help="Folder or URI of the image shards.")]
Requests = Annotated[Path, typer.Option(help="Folder of the forget requests.")]
Splits = Annotated[Path, typer.Option(help="Folder written by `split`.")]
Teacher = Annotated[Path, typer.Option(help="Model directory of the teacher, written by `snapshot`.")]
Unlearned = Annotated[Path, typer.Option(help="Folder written by `unlearn`.")]
Reference = Annotated[str, typer.Option(help="Folder written by `reference`; empty if there is none.")]
OriginalModel = Annotated[
    str, typer.Option(help="Model directory of the model before any request; empty = as `snapshot` found it.")
]
Evaluation = Annotated[Path, typer.Option(help="Folder written by `evaluate`.")]
Policies = Annotated[Path, typer.Option(help="Folder of gate policies.")]
Presets = Annotated[Path, typer.Option(help="Folder of the presets.")]
Out = Annotated[Path, typer.Option(help="Output folder; it appears whole or not at all.")]
Params = Annotated[Path, typer.Option(help="Settings file.")]
KeyFile = Annotated[
    str | None,
    typer.Option(
        help="Key that turns sample ids into codes; default: $I2I_UNLEARN_HMAC_KEY_FILE, then .secrets/hmac.key."
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print all facts as JSON.")]

PARAMS = Path("params.yaml")
IMAGES = "data/images"
REQUESTS = Path("data/forget")
SPLITS = Path("artifacts/splits")
TEACHER = Path("artifacts/teacher/model")
UNLEARNED = Path("artifacts/unlearned")
REFERENCE = "artifacts/reference"
ORIGINAL = ""
EVALUATION = Path("artifacts/evaluation")
POLICIES = Path("mlflow/policies")
PRESETS = Path("presets")

DAY = ["%Y-%m-%d"]
"""Format of a day."""
