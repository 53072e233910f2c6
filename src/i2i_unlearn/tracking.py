"""MLflow: runs, registered versions and their aliases. The only module that imports mlflow.

Where: MLFLOW_TRACKING_URI; unset, the file mlflow.db in the current folder with artifacts in ./mlflow-artifacts.
Logging is idempotent: what a run holds already is not logged again, so that a killed registration can be repeated.
"""

import json
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from i2i_unlearn import files
from i2i_unlearn.errors import UserError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # else a new database tells each of its migrations
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# MLflow's own defaults keep a user waiting for minutes when the server is down: here 1 + 2 + 4 s.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
try:
    from mlflow import MlflowClient
    from mlflow import artifacts as mlflow_artifacts
    from mlflow.entities import (
        Dataset,
        DatasetInput,
        InputTag,
        LoggedModelOutput,
        LoggedModelStatus,
        Metric,
        Param,
        RunTag,
    )
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model, ModelSignature, set_model
    from mlflow.pyfunc import save_model as save_pyfunc
    from mlflow.pyfunc.model import PythonModel
    from mlflow.types import Schema, TensorSpec
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS
except ModuleNotFoundError as error:
    raise UserError(f"MLflow is not installed ({error}); run: pip install 'i2i-unlearn[mlflow]'") from None
import numpy as np
import requests  # type: ignore[import-untyped]
from PIL import Image

__all__ = [
    "Champion",
    "PythonModel",
    "Record",
    "Server",
    "Version",
    "champion",
    "connect",
    "fetch_version",
    "set_model",
]

for _name in ("alembic", "mlflow"):  # also where somebody imported mlflow before us
    logging.getLogger(_name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])

CURVES = "steps/"
"""Prefix of the training curves' names."""
CHAMPION = "champion"
CANDIDATE = "candidate"
DEFAULT_DATABASE = "mlflow.db"
DEFAULT_ARTIFACTS = "mlflow-artifacts"
MODEL = "model"
MODEL_PATH = f"artifacts/{MODEL}"
"""Where the model directory lies among a version's files."""
SERVING = (
    *("mlflow", "numpy", "pandas", "pyarrow", "fsspec", "pillow", "pydantic", "pyyaml", "rich"),
    *("diffusers", "safetensors", "torch", "torchvision", "transformers"),
)
"""What loading and completing imports, as installed here."""
MOST_CHARACTERS = 6000
"""Longest value of a parameter that MLflow takes."""
MOST_TAG = 5000
"""Longest value of a tag that is written here; servers take at least as much."""
PARENT = "mlflow.parentRunId"
"""Tag by which MLflow nests a run in another."""
MOST_POINTS = 1000
"""Most points of a curve that are logged; the whole curve is an artifact."""


@dataclass(frozen=True)
class Version:
    """A registered version."""

    model_name: str
    number: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    logged: "Logged"
    """What it was registered from."""

    def requests(self) -> list[str]:
        """Ids of all requests this version has forgotten, sorted: the active and the earlier ones of its time."""
        return sorted({*names(self.tags.get("requests", "")), *names(self.tags.get("erased", ""))})


@dataclass(frozen=True)
class Champion:
    """The version that is in use."""

    version: str
    sha256: str
    """Digest of its model directory (`files.digest_folder`)."""
    requests: list[str]
    """Ids of all requests it has forgotten."""


def names(tag: str) -> list[str]:
    """The ids in a tag that lists some: "a,b" -> ["a", "b"]; "" -> []."""
    return [name for name in tag.split(",") if name]


def champion(model_name: str) -> Champion | None:
    """Who is champion, or None.

    Raises:
        UserError: MLflow cannot be reached.
    """
    with connect() as server:
        version = server.at_alias(model_name, CHAMPION)
    if version is None:
        return None
    return Champion(version.number, version.tags.get("model_sha256", ""), version.requests())


def fetch_version(uri: str, out: str | Path) -> None:
    """Download the model directory of `models:/NAME/VERSION` to `out`, whole or not at all.

    Raises:
        UserError: `uri` names no version (an alias does not: it means another one tomorrow), the version holds no model
            directory or other bytes than were registered, or MLflow cannot be reached.
    """
    name, _, number = uri.removeprefix("models:/").partition("/")
    if not uri.startswith("models:/") or not name or "@" in uri or not number.isdecimal():
        raise UserError(f"{uri}: names no version; write models:/NAME/NUMBER (an alias may mean another one tomorrow)")
    with connect() as server, tempfile.TemporaryDirectory() as folder:
        version = server.version(name, number)
        model = server.download(version, folder) / MODEL_PATH
        expected = version.tags.get("model_sha256")
        if expected is None or not (model / "config.json").is_file():
            raise UserError(f"{uri}: holds no model directory of ours; register it with `i2i-unlearn register`")
        if files.digest_folder(model) != expected:
            raise UserError(f"{uri}: its bytes are not those that were registered ({expected[:12]}); register it again")
        with files.atomic_folder(out) as aside:
            shutil.copytree(model, aside, dirs_exist_ok=True)


def attached_stream() -> Callable[[Mapping[str, Any]], None] | None:
    """Log rows of steps.jsonl, while they are made, as curves of the run that MLFLOW_RUN_ID names; None if it is unset.

    What is returned never raises: a training run does not end because a server is down. After the first failure it
    says so once and logs no more; `register` adds the points that are missing.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    client: MlflowClient | None = MlflowClient(tracking_uri=_uri()) if run_id else None

    def stream(row: Mapping[str, Any]) -> None:
        nonlocal client
        if client is None or run_id is None:
            return
        now, step = int(time.time() * 1000), int(row["step"])
        values = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
        try:
            client.log_batch(run_id, [Metric(CURVES + key, value, now, step) for key, value in values.items()])
        except (MlflowException, requests.RequestException) as error:
            client = None
            print(f"{_in_one_line(_uri(), error)}; training goes on without live curves", file=sys.stderr)

    return stream if run_id else None


@contextmanager
def connect() -> Iterator["Server"]:
    """Talk to MLflow; what it refuses or cannot do becomes one line.

    Raises:
        UserError: MLflow cannot be reached, or refuses what is asked.
    """
    uri = _uri()
    try:
        yield Server(MlflowClient(tracking_uri=uri), uri)
    except (MlflowException, requests.RequestException) as error:
        raise UserError(_in_one_line(uri, error)) from error


def _uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(DEFAULT_DATABASE).resolve()}"


def _in_one_line(uri: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    uri = re.sub(r"//[^/@]*@", "//", uri)  # a password may stand there
    if "API request to" in reason and ("failed with exception" in reason or "failed with timeout" in reason):
        cause = "no answer" if "timeout" in reason else "no connection"
        return f"MLflow at {uri} cannot be reached ({cause}); start the server or correct MLFLOW_TRACKING_URI"
    if re.search(r"code 40[13]\b|UNAUTHENTICATED|PERMISSION_DENIED", reason):
        return f"MLflow at {uri} refuses access; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or a token"
    return f"MLflow at {uri}: {reason[:400]}"


class Server:
    """MLflow's tracking server and model registry, in the words of this project."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client = client
        self.uri = uri

    # --- runs ---

    def find_record(self, experiment: str, run_key: str) -> "Record | None":
        """The run that MLFLOW_RUN_ID names (Kubeflow's MLflow plugin sets it), else the one tagged with `run_key`."""
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            return Record(self._client, run_id, run_key, attached=True)
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = self._client.search_runs([found.experiment_id], f"tags.run_key = '{run_key}'", max_results=1)
        return Record(self._client, runs[0].info.run_id, run_key) if runs else None

    def new_record(self, experiment: str, run_key: str, name: str) -> "Record":
        """A new run, tagged with `run_key`, in an experiment that is made if need be."""
        run = self._client.create_run(self._experiment_id(experiment), run_name=name, tags={"run_key": run_key})
        return Record(self._client, run.info.run_id, run_key)

    def child_record(self, parent: "Record", run_key: str, name: str) -> "Record":
        """The run tagged with `run_key` that is nested in `parent`; made if there is none."""
        terms = f"tags.run_key = '{run_key}' and tags.`{PARENT}` = '{parent.run_id}'"
        runs = self._client.search_runs([parent.experiment_id], terms, max_results=1)
        if runs:
            return Record(self._client, runs[0].info.run_id, run_key)
        tags = {"run_key": run_key, PARENT: parent.run_id}
        run = self._client.create_run(parent.experiment_id, run_name=name, tags=tags)
        return Record(self._client, run.info.run_id, run_key)

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        beside = None  # a server knows where its artifacts belong, a database file does not
        if self.uri.startswith("sqlite:///"):
            beside = str(Path(self.uri.removeprefix("sqlite:///")).parent / DEFAULT_ARTIFACTS)
        return str(self._client.create_experiment(name, artifact_location=beside))

    def download_record(self, run_id: str, path: str, folder: Path) -> None:
        """Download one file of a run's artifacts into `folder`."""
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:  # stores differ in whether they keep the file's folders
            Path(self._client.download_artifacts(run_id, path, aside)).rename(folder / Path(path).name)

    # --- versions ---

    def versions(self, model_name: str, **tags: str) -> list[Version]:
        """Versions that have these tags, newest first. An empty tag is the same as none."""
        terms = [f"name = '{model_name}'", *(f"tags.`{key}` = '{value}'" for key, value in tags.items() if value)]
        found, token = [], None
        while token != "":
            page = self._client.search_model_versions(" and ".join(terms), page_token=token)
            found += [_version(version) for version in page if _has(version.tags, tags)]
            token = page.token or ""
        return sorted(found, key=lambda version: -int(version.number))

    def version(self, model_name: str, number: str) -> Version:
        """One version, with its aliases.

        Raises:
            UserError: there is none of this number.
        """
        try:
            return _version(self._client.get_model_version(model_name, number))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
        known = ", ".join(version.number for version in reversed(self.versions(model_name)))
        raise UserError(f"{model_name} has no version {number!r}; registered are: {known or 'none'}")

    def at_alias(self, model_name: str, alias: str) -> Version | None:
        """The version that has an alias, or None."""
        try:
            return _version(self._client.get_model_version_by_alias(model_name, alias))
        except MlflowException as error:
            # An alias nobody has is an invalid parameter to MLflow, a model nobody registered does not exist.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or f"alias {alias} not found" in str(error):
                return None
            raise

    def create_version(self, record: "Record", model_name: str, logged: "Logged", tags: Mapping[str, str]) -> Version:
        """Register a logged model as the next version."""
        tags = {**tags, "saved_sha256": logged.saved_sha256}
        try:
            self._client.create_registered_model(model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"models:/{logged.id}"
        return _version(
            self._client.create_model_version(
                model_name,
                source,
                run_id=record.run_id,
                tags={key: value for key, value in tags.items() if value},
                model_id=logged.id,
                await_creation_for=0,  # its files are there already
            )
        )

    def describe(self, version: Version, text: str, tags: Mapping[str, str]) -> None:
        """Set the description and tags of a version."""
        self._client.update_model_version(version.model_name, version.number, description=text)
        self.tag(version, tags)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version that are not so already."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._client.set_model_version_tag(version.model_name, version.number, key, value)

    def set_alias(self, version: Version, alias: str) -> None:
        """Give an alias to a version; whoever had it loses it."""
        self._client.set_registered_model_alias(version.model_name, alias, version.number)

    def drop_alias(self, model_name: str, alias: str) -> None:
        """Take an alias away from whoever has it."""
        self._client.delete_registered_model_alias(model_name, alias)

    def download(self, version: Version, folder: str | Path) -> Path:
        """Download all files of a version into `folder`; its model directory is MODEL_PATH below what is returned."""
        where = self._client.get_model_version_download_uri(version.model_name, version.number)
        return Path(
            mlflow_artifacts.download_artifacts(artifact_uri=where, dst_path=str(folder), tracking_uri=self.uri)
        )


def _has(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(found.get(key, "") == value for key, value in wanted.items())


def _version(version: Any) -> Version:
    return Version(
        model_name=version.name,
        number=str(version.version),
        tags=dict(version.tags),
        aliases=tuple(version.aliases),
        logged=Logged(str(version.source).removeprefix("models:/"), version.tags.get("saved_sha256", "")),
    )


class Record:
    """An MLflow run that holds one registration. Everything is logged at most once."""

    def __init__(self, client: MlflowClient, run_id: str, run_key: str, *, attached: bool = False) -> None:
        """Attached runs belong to somebody else, who ends them."""
        self._client = client
        self._attached = attached
        run = client.get_run(run_id)
        self.run_id = run_id
        self.experiment_id = str(run.info.experiment_id)
        self.is_complete = run.data.tags.get("run_key") == run_key and run.data.tags.get("complete") == "true"
        self._metrics = frozenset(run.data.metrics)
        self._params = frozenset(run.data.params)
        self._start = int(run.info.start_time)

    @contextmanager
    def writing(self, run_key: str) -> Iterator[None]:
        """Mark the run complete and finished on success, failed on any failure."""
        try:
            self.tag({"run_key": run_key})
            if not self._attached:
                self._client.update_run(self.run_id, status="RUNNING")
            yield
            self.tag({"complete": "true"})
        except BaseException:
            if not self._attached:
                with suppress(MlflowException):  # a lost connection is what we came here for
                    self._client.set_terminated(self.run_id, "FAILED")
            raise
        if not self._attached:
            self._client.set_terminated(self.run_id)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings that are not there yet (MLflow lets nobody change them)."""
        new = [Param(key, str(value)[:MOST_CHARACTERS]) for key, value in params.items() if key not in self._params]
        for chunk in _chunks(new, 100):
            self._client.log_batch(self.run_id, params=chunk)

    def log_metrics(self, metrics: Mapping[str, float], logged_model_id: str | None = None) -> None:
        """Log numbers that are not there yet; with an id, as numbers of that model."""
        self._log(
            Metric(key, value, self._start, 0, model_id=logged_model_id, run_id=self.run_id)
            for key, value in metrics.items()
            if key not in self._metrics
        )

    def log_curves(self, steps: Sequence[Mapping[str, float]], prefix: str) -> None:
        """Log the lines of a steps.jsonl (each has `step`) as curves of at most `MOST_POINTS` points.

        A curve that was streamed while training keeps its points; missing ones are added.
        """
        numbers = {key for line in steps for key, value in line.items() if isinstance(value, int | float)}
        keys = sorted(numbers - {"step"})  # a line also names its phase
        there = {key: self._steps_of(prefix + key) for key in keys}
        self._log(
            Metric(prefix + key, line[key], self._start + int(line["step"]), int(line["step"]))
            for line in _thinned(steps)
            for key in keys
            if key in line and int(line["step"]) not in there[key]
        )

    def _steps_of(self, key: str) -> set[int]:
        if key not in self._metrics:
            return set()
        return {metric.step for metric in self._client.get_metric_history(self.run_id, key)}

    def _log(self, metrics: Iterable[Metric]) -> None:
        for chunk in _chunks(list(metrics), 1000):
            self._client.log_batch(self.run_id, metrics=chunk)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Log a file, or a folder with all that is in it, as an artifact below `folder`."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), f"{folder}/{path.name}".lstrip("/"))
        else:
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def log_text(self, text: str, name: str) -> None:
        """Log a text file as an artifact."""
        self._client.log_text(self.run_id, text, name)

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Log rows of like keys as a table that `mlflow.load_table` and the UI read, at `name` (a .json)."""
        if not self._has_artifact(name):
            self._client.log_table(self.run_id, {key: [row[key] for row in rows] for key in rows[0]}, name)
            return
        # MLflow would append the rows once more. It lists its tables in a tag, which a killed run may not have set.
        listed = json.loads(self._client.get_run(self.run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        entry = {"path": name, "type": "table"}
        if entry not in listed:
            self.tag({MLFLOW_LOGGED_ARTIFACTS: json.dumps([*listed, entry])})

    def log_image(self, path: Path, key: str) -> None:
        """Log a picture file for the UI's grid of images, under `key` (letters, digits and underscores)."""
        with Image.open(path) as picture:
            if not self._has_artifact(f"images/{key}+"):
                self._client.log_image(self.run_id, picture, key=key, step=0, synchronous=True)

    def _has_artifact(self, start: str) -> bool:
        """Whether a file is there whose path begins so."""
        folder = start.rpartition("/")[0]
        return any(file.path.startswith(start) for file in self._client.list_artifacts(self.run_id, folder or None))

    def log_dataset(
        self, name: str, path: str, sha256: str, columns: Mapping[str, str], counts: Mapping[str, int]
    ) -> None:
        """Log an artifact of this run as the data set that it used. `columns` are names and MLflow types."""
        dataset = Dataset(
            name=name,
            digest=sha256[:36],  # as much as MLflow keeps
            source_type="local",
            source=json.dumps({"uri": f"runs:/{self.run_id}/{path}"}),
            schema=json.dumps({"mlflow_colspec": [{"name": key, "type": kind} for key, kind in columns.items()]}),
            profile=json.dumps(dict(counts)),
        )
        tags = [InputTag("mlflow.data.context", "unlearning")]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_model(self, model_dir: Path, name: str, served: "Served") -> "Logged":
        """Log a model directory as a pyfunc, or find it where this run has logged it before."""
        tags = {"model_sha256": files.digest_folder(model_dir)}
        if not self.is_complete:  # else its version was deleted, maybe because the files are damaged
            same = f"source_run_id = '{self.run_id}' and tags.model_sha256 = '{tags['model_sha256']}'"
            for model in self._client.search_logged_models([self.experiment_id], same):
                if model.status == LoggedModelStatus.READY:
                    return Logged(str(model.model_id), model.tags["saved_sha256"])
        params = {key: str(value) for key, value in served.model_config.items()}
        model = self._client.create_logged_model(
            self.experiment_id, name, source_run_id=self.run_id, tags=tags, params=params, model_type="image-to-image"
        )
        with tempfile.TemporaryDirectory() as folder:
            about = Model(artifact_path=model.artifact_location, run_id=self.run_id, model_id=model.model_id)
            saved = _save(model_dir, Path(folder), about, served)
            sha256 = files.digest_folder(saved)
            self._client.set_logged_model_tags(model.model_id, {"saved_sha256": sha256})
            self._client.log_model_artifacts(model.model_id, str(saved))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        return Logged(str(model.model_id), sha256)


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _thinned(steps: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Every k-th line, and the last, such that at most `MOST_POINTS` remain."""
    every = max(1, -(-len(steps) // MOST_POINTS))
    return [*steps[:-1:every], *steps[-1:]]


@dataclass(frozen=True)
class Logged:
    """A model that MLflow holds."""

    id: str
    saved_sha256: str
    """Digest of all files of it: weights, package, requirements, MLmodel."""


@dataclass(frozen=True)
class Served:
    """How the registered model is run."""

    image_size: tuple[int, int]
    """(height, width) in pixels."""
    num_channels: int
    model_config: Mapping[str, str | int | float]
    """operator, keep_fraction, operator_patch_size, seed, model: read by `pyfunc_model`."""
    own_code: Path | None = None
    """Package or file of the user's own class, which goes along with the weights."""


def _save(model_dir: Path, folder: Path, about: Model, served: Served) -> Path:
    """Write the pyfunc: MLmodel, requirements, the package in code/, the model directory in artifacts/model/.

    MLflow writes down the paths it is given, so it is given ones that tell nothing.
    """
    staged = shutil.copytree(model_dir, folder / MODEL)
    package = _copy_code(Path(__file__).parent, folder)
    own = [_copy_code(served.own_code, folder / "own")] if served.own_code else []
    size = (-1, *served.image_size, served.num_channels)
    images = Schema([TensorSpec(np.dtype("uint8"), size)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asks for an input example and for type hints; the signature says it all
        save_pyfunc(
            folder / "saved",
            mlflow_model=about,
            python_model=package / "pyfunc_model.py",
            artifacts={MODEL: str(staged)},
            code_paths=[str(package), *map(str, own)],
            pip_requirements=_requirements(),
            signature=ModelSignature(images, images),
            model_config=dict(served.model_config),
        )
    return folder / "saved"


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
