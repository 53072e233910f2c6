"""A run that holds one registration: everything is logged at most once."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS
from PIL import Image

from i2i_unlearn.config.base import whole_numbers
from i2i_unlearn.registry.tracking.entities import MOST_CHARACTERS, MOST_POINTS, Logged, Served
from i2i_unlearn.registry.tracking.pyfunc import save
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError


class Record:
    """An MLflow run that holds one registration. Everything is logged at most once."""

    def __init__(self, client: MlflowClient, run_id: str, run_key: str, *, attached: bool = False) -> None:
        """Attached runs belong to another program, which ends them."""
        self._client = client
        self.attached = attached
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
            if not self.attached:
                self._client.update_run(self.run_id, status="RUNNING")
            yield
            self.tag({"complete": "true"})
        except BaseException:
            if not self.attached:
                with suppress(MlflowException):  # a lost connection may be why we are here
                    self._client.set_terminated(self.run_id, "FAILED")
            raise
        if not self.attached:
            self._client.set_terminated(self.run_id)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings that are not there yet (in MLflow they cannot be changed). 32.0, as forms send it, is 32."""
        new = [
            Param(key, str(value)[:MOST_CHARACTERS])
            for key, value in whole_numbers(dict(params)).items()
            if key not in self._params
        ]
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

        A curve that was streamed during training keeps its points; missing ones are added.
        """
        numbers = {key for line in steps for key, value in line.items() if isinstance(value, int | float)}
        keys = sorted(numbers - {"step"})  # a line also names its phase
        there = {key: self._steps_of(prefix + key) for key in keys}
        self._log(
            Metric(prefix + key, line[key], self._start + int(line["step"]), int(line["step"]))
            for line in thinned(steps)
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
        """Log rows with equal keys as a table that `mlflow.load_table` and the UI read, at `name` (a .json)."""
        if not self._has_artifact(name):
            self._client.log_table(self.run_id, {key: [row[key] for row in rows] for key in rows[0]}, name)
            return
        # MLflow would append the rows again. It lists its tables in a tag, which a killed run may not have set.
        listed = json.loads(self._client.get_run(self.run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        entry = {"path": name, "type": "table"}
        if entry not in listed:
            self.tag({MLFLOW_LOGGED_ARTIFACTS: json.dumps([*listed, entry])})

    def log_image(self, path: Path, key: str) -> None:
        """Log a picture file for the UI's image grid, under `key` (letters, digits and underscores)."""
        with Image.open(path) as picture:
            if not self._has_artifact(f"images/{key}+"):
                self._client.log_image(self.run_id, picture, key=key, step=0, synchronous=True)

    def _has_artifact(self, start: str) -> bool:
        """Whether there is a file whose path begins with `start`."""
        folder = start.rpartition("/")[0]
        return any(file.path.startswith(start) for file in self._client.list_artifacts(self.run_id, folder or None))

    def log_dataset(
        self, name: str, path: str, sha256: str, columns: Mapping[str, str], counts: Mapping[str, int]
    ) -> None:
        """Log an artifact of this run as the data set that it used. `columns` are names and MLflow types."""
        dataset = Dataset(
            name=name,
            digest=sha256[:36],  # all that MLflow keeps
            source_type="local",
            source=json.dumps({"uri": f"runs:/{self.run_id}/{path}"}),
            schema=json.dumps({"mlflow_colspec": [{"name": key, "type": kind} for key, kind in columns.items()]}),
            profile=json.dumps(dict(counts)),
        )
        tags = [InputTag("mlflow.data.context", "unlearning")]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_input_model(self, model_id: str) -> None:
        """Record that this run started from that logged model."""
        inputs = self._client.get_run(self.run_id).inputs
        if inputs is None or all(known.model_id != model_id for known in inputs.model_inputs):
            self._client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])

    def log_model(self, model_dir: Path, name: str, served: Served) -> Logged:
        """Log a model directory as a pyfunc, or find the one this run has logged before."""
        model_sha256 = files.digest_folder(model_dir)
        if found := self._find_model(f"tags.model_sha256 = '{model_sha256}'"):
            return found
        params = {key: str(value) for key, value in served.model_config.items()}
        model = self._create_model(name, model_sha256, params)
        with tempfile.TemporaryDirectory() as folder:
            about = Model(artifact_path=model.artifact_location, run_id=self.run_id, model_id=model.model_id)
            saved = save(model_dir, Path(folder), about, served)
            return self._upload(str(model.model_id), saved, files.digest_folder(saved))

    def log_saved(
        self, saved: Path, model_sha256: str, saved_sha256: str, name: str, params: Mapping[str, str]
    ) -> Logged:
        """Log the files of a version of another registry unchanged, or find those this run has logged before."""
        if found := self._find_model(f"tags.saved_sha256 = '{saved_sha256}'"):
            return found
        model = self._create_model(name, model_sha256, params)
        return self._upload(str(model.model_id), saved, saved_sha256)

    def log_points(self, key: str, points: Sequence[Metric], logged_model_id: str | None = None) -> None:
        """Log the points of a curve that are not there yet; with an id, as numbers of that model."""
        there = self._steps_of(key)
        self._log(
            Metric(key, point.value, point.timestamp, point.step, model_id=logged_model_id, run_id=self.run_id)
            for point in points
            if point.step not in there
        )

    def _find_model(self, term: str) -> Logged | None:
        """A logged model of this run that is ready."""
        if self.is_complete:
            return None  # its version was deleted, perhaps because its files are damaged
        same = f"source_run_id = '{self.run_id}' and {term}"
        for model in self._client.search_logged_models([self.experiment_id], same):
            if model.status == LoggedModelStatus.READY:
                self._log_output(str(model.model_id))
                return Logged(str(model.model_id), model.tags["saved_sha256"])
        return None

    def _create_model(self, name: str, model_sha256: str, params: Mapping[str, str]) -> Any:
        same = f"source_run_id = '{self.run_id}' and tags.model_sha256 = '{model_sha256}'"
        self._delete_unfinished(same)
        model = self._client.create_logged_model(
            self.experiment_id,
            name,
            source_run_id=self.run_id,
            tags={"model_sha256": model_sha256},
            params=dict(params),
            model_type="image-to-image",
        )
        self._delete_unfinished(same, older_than=model)
        return model

    def _delete_unfinished(self, same: str, older_than: Any = None) -> None:
        """Delete logged models that will never be finished: of a killed registration, or of a lost answer.

        Another process that registers the same model right now looks no different, so the newest of several goes on.
        """

        def age(model: Any) -> tuple[int, str]:
            return model.creation_timestamp, model.model_id

        for model in self._client.search_logged_models([self.experiment_id], same):
            is_older = older_than is None or age(model) < age(older_than)
            if model.status != LoggedModelStatus.READY and is_older:
                self._client.delete_logged_model(model.model_id)

    def _upload(self, model_id: str, saved: Path, sha256: str) -> Logged:
        with logged_model_of_ours(self._client, model_id):
            self._client.set_logged_model_tags(model_id, {"saved_sha256": sha256})
            self._client.log_model_artifacts(model_id, str(saved))
            self._client.finalize_logged_model(model_id, "READY")
            self._client.get_logged_model(model_id)  # MLflow also finalizes a model that was deleted in the meantime
            self._log_output(model_id)
        return Logged(model_id, sha256)

    def _log_output(self, model_id: str) -> None:
        """Record that this run made the model; doing it twice would be an error."""
        if not self._has_output(model_id):
            try:
                self._client.log_outputs(self.run_id, [LoggedModelOutput(model_id, step=0)])
            except MlflowException:
                if not self._has_output(model_id):  # else only the answer was lost
                    raise

    def _has_output(self, model_id: str) -> bool:
        outputs = self._client.get_run(self.run_id).outputs
        return outputs is not None and any(output.model_id == model_id for output in outputs.model_outputs)


@contextmanager
def logged_model_of_ours(client: MlflowClient, model_id: str) -> Iterator[None]:
    """Say in one line what it means if a logged model is deleted while it is being written or registered.

    Raises:
        UserError: another registration of the same deleted it (`Record._delete_unfinished`).
    """
    try:
        yield
    except MlflowException as error:
        try:
            client.get_logged_model(model_id)
        except MlflowException as missing:
            if missing.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise UserError(
                    "another process, which began later, is registering the same model and goes on; run the same "
                    "command again when it is done"
                ) from error
        raise


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def thinned(steps: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Every k-th line and the last one, so that at most `MOST_POINTS` remain."""
    every = max(1, -(-len(steps) // MOST_POINTS))
    return [*steps[:-1:every], *steps[-1:]]
