"""A version with its files, run and numbers, copied from one MLflow to another.

MLflow's own copy_model_version works only within one server.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, Metric

from i2i_unlearn.registry.tracking.entities import Version
from i2i_unlearn.registry.tracking.record import Record
from i2i_unlearn.registry.tracking.server import Server
from i2i_unlearn.support import files


@dataclass(frozen=True)
class Taken:
    """What was downloaded of a version."""

    version: Version
    description: str
    saved: Path
    """All files of the version, byte for byte."""
    artifacts: Path
    """Artifacts of its run; empty for an original."""
    run_name: str
    run_key: str
    params: Mapping[str, str]
    metrics: Mapping[str, list[Metric]] = field(repr=False)
    datasets: tuple[Dataset, ...]
    model_params: Mapping[str, str]
    model_metrics: frozenset[str]
    """Names of metrics that also belong to the logged model."""


def take(server: Server, version: Version, folder: Path) -> Taken:
    """Download everything into `folder`, which exists and is empty."""
    client = server.client
    stored = client.get_model_version(version.model_name, version.number)
    run = client.get_run(version.tags.get("evaluation_run_id") or str(stored.run_id))
    model = client.get_logged_model(version.logged.id)
    (folder / "version").mkdir()
    (folder / "run").mkdir()
    if client.list_artifacts(run.info.run_id):
        client.download_artifacts(run.info.run_id, "", str(folder / "run"))
    return Taken(
        version=version,
        description=stored.description or "",
        saved=server.download(version, folder / "version"),
        artifacts=folder / "run",
        run_name=run.info.run_name,
        run_key=run.data.tags.get("run_key", ""),
        params=dict(run.data.params),
        metrics={key: list(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics},
        datasets=tuple(given.dataset for given in run.inputs.dataset_inputs) if run.inputs else (),
        model_params=dict(model.params or {}),
        model_metrics=frozenset(metric.key for metric in model.metrics or []),
    )


def give(
    server: Server,
    taken: Taken,
    model_name: str,
    experiment: str,
    identity: Mapping[str, str],
    tags: Mapping[str, str],
) -> Version:
    """Register it as a version of `model_name`, or find it there; continues what was begun."""
    record = server.find_record(experiment, taken.run_key)
    record = record or server.new_record(experiment, taken.run_key, taken.run_name)
    with record.writing(taken.run_key):
        record.log_params(taken.params)
        name, digest = model_name, files.digest_folder(taken.saved)
        logged = record.log_saved(taken.saved, taken.version.tags["model_sha256"], digest, name, taken.model_params)
        _log_metrics(record, taken, logged.id)
        for path in sorted(taken.artifacts.iterdir()):
            record.log_file(path)
        if taken.datasets:
            server.client.log_inputs(record.run_id, [DatasetInput(dataset, []) for dataset in taken.datasets])
        all_tags = {
            **tags,
            **({"evaluation_run_id": record.run_id} if "evaluation_run_id" in taken.version.tags else {}),
        }
        version = server.create_version(record, model_name, logged, identity, all_tags)
        server.describe(version, taken.description, all_tags)
        record.tag({**identity, **all_tags, "model_name": model_name, "model_version": version.number})
    return server.version(model_name, version.number)


def _log_metrics(record: Record, taken: Taken, model_id: str) -> None:
    for key, points in taken.metrics.items():
        record.log_points(key, points, model_id if key in taken.model_metrics else None)
