"""What is written for a version: the pyfunc, the package that runs it, the model directory, the requirements."""

import shutil
import warnings
from importlib import metadata
from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model as save_pyfunc
from mlflow.types import ParamSchema, ParamSpec

from i2i_unlearn.registry.tracking.entities import MODEL, SERVING, Served


def save(model_dir: Path, folder: Path, about: Model, served: Served) -> Path:
    """Write the pyfunc: MLmodel, requirements, the package in code/, the model directory in artifacts/model/.

    MLflow records the paths it is given, so it is given ones that reveal nothing.
    """
    staged = shutil.copytree(model_dir, folder / MODEL)
    package = _copy_code(Path(__file__).parents[2], folder)
    own = [_copy_code(served.own_code, folder / "own")] if served.own_code else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for an input example and type hints; the signature says everything
        save_pyfunc(
            folder / "saved",
            mlflow_model=about,
            python_model=package / "serving/pyfunc_model.py",
            artifacts={MODEL: str(staged)},
            code_paths=[str(package), *map(str, own)],
            pip_requirements=_requirements(),
            signature=_signature(served),
            model_config=dict(served.model_config),
            metadata={"image_size": list(served.image_size), "num_channels": served.num_channels},
        )
    return folder / "saved"


def _signature(served: Served) -> ModelSignature:
    """What `params` of a request may say. Images come as numbers or as files (checked by serving/payload.py).

    MLflow's signature can describe only one form of input and would refuse the other.
    """
    kinds = {"operator": "string", "keep_fraction": "double", "seed": "long"}
    return ModelSignature(
        params=ParamSchema([ParamSpec(key, kind, served.model_config[key]) for key, kind in kinds.items()])
    )


def _copy_code(source: Path, folder: Path) -> Path:
    """A copy of a package, or of one module's file, in `folder`."""
    if source.is_dir():
        compiled = shutil.ignore_patterns("__pycache__", "*.pyc")
        return Path(shutil.copytree(source, folder / source.name, ignore=compiled))
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(source, folder))


def _requirements() -> list[str]:
    # A build's local part (torch's +cpu) is on no index.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in SERVING]
