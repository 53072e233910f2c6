"""The tracking server and the model registry."""

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow import artifacts as mlflow_artifacts
from mlflow.exceptions import MlflowException

from i2i_unlearn.registry.tracking.entities import ATTEMPT, DEFAULT_ARTIFACTS, PARENT, Logged, Version
from i2i_unlearn.registry.tracking.record import Record, logged_model_of_ours
from i2i_unlearn.support.errors import UserError

RUN_VARIABLE = "MLFLOW_RUN_ID"
MOST_ASKED = 64
"""Characters of a tag's value in a search: a digest."""


def check_attached(client: MlflowClient, run_id: str, run_key: str | None = None) -> None:
    """Refuse a run that was only left in the environment: it is gone, ended, or holds another registration.

    Raises:
        UserError: it is one of these.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        why = "which does not exist here"
    else:
        held = run.data.tags.get("run_key", "")
        other = run_key is not None and held not in ("", run_key)
        going_on = run.info.status in ("RUNNING", "SCHEDULED") and run.info.lifecycle_stage == "active"
        if not other and (going_on or held == run_key):
            return
        why = "which holds another registration" if other else "which is deleted or has ended"
    raise UserError(
        f"{RUN_VARIABLE} names run {run_id}, {why}; it is meant for the run that Kubeflow has just started: unset "
        f"{RUN_VARIABLE}"
    )


class Server:
    """MLflow's tracking server and model registry, in the words of this project."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self.client = client
        self.uri = uri

    # --- runs ---

    def find_record(self, experiment: str, run_key: str, known: Version | None = None) -> Record | None:
        """The run that MLFLOW_RUN_ID names (Kubeflow's MLflow plugin sets it), else the one tagged with `run_key`.

        Of two that were made at the same moment, the one named by the version `known`.
        """
        if run_id := os.environ.get(RUN_VARIABLE):
            check_attached(self.client, run_id, run_key)
            return Record(self.client, run_id, run_key, attached=True)
        experiment_id = self._known_experiment(experiment)
        if experiment_id is None:
            return None
        runs = self.client.search_runs([experiment_id], f"tags.run_key = '{run_key}'")
        ids = [run.info.run_id for run in runs]
        named = known.tags.get("evaluation_run_id", "") if known else ""
        return Record(self.client, named if named in ids else ids[0], run_key) if ids else None

    def new_record(self, experiment: str, run_key: str, name: str) -> Record:
        """A new run, tagged with `run_key`, in an experiment that is created if necessary."""
        experiment_id = self._experiment_id(experiment)
        return self._made_once(experiment_id, {"run_key": run_key}, f"tags.run_key = '{run_key}'", name)

    def child_record(self, parent: Record, run_key: str, name: str) -> Record:
        """The run tagged with `run_key` that is nested in `parent`; created if there is none."""
        terms = f"tags.run_key = '{run_key}' and tags.`{PARENT}` = '{parent.run_id}'"
        runs = self.client.search_runs([parent.experiment_id], terms, max_results=1)
        if runs:
            return Record(self.client, runs[0].info.run_id, run_key)
        return self._made_once(parent.experiment_id, {"run_key": run_key, PARENT: parent.run_id}, terms, name)

    def _made_once(self, experiment_id: str, tags: Mapping[str, str], terms: str, name: str) -> Record:
        """Make a run; if an answer was lost, or another process made it too, the oldest counts and ours are deleted."""
        nonce = uuid.uuid4().hex
        self.client.create_run(experiment_id, run_name=name, tags={**tags, ATTEMPT: nonce})
        runs = self.client.search_runs([experiment_id], terms, order_by=["attributes.start_time ASC"])
        first, *others = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
        for run in others:
            if run.data.tags.get(ATTEMPT) == nonce:
                self.client.delete_run(run.info.run_id)
        return Record(self.client, first.info.run_id, tags["run_key"])

    def _known_experiment(self, name: str) -> str | None:
        """Id of an experiment, or None.

        Raises:
            UserError: it was deleted.
        """
        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise UserError(
                f"MLflow's experiment {name!r} was deleted; restore it with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`, or give register.experiment another name"
            )
        return None if found is None else str(found.experiment_id)

    def _experiment_id(self, name: str) -> str:
        known = self._known_experiment(name)
        if known is not None:
            return known
        location = None  # a server knows where its artifacts belong, a database file does not
        if self.uri.startswith("sqlite:///"):
            location = str(Path(self.uri.removeprefix("sqlite:///")).parent / DEFAULT_ARTIFACTS)
        try:
            return str(self.client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            found = self.client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
            return str(found.experiment_id)

    def download_record(self, run_id: str, path: str, folder: Path) -> None:
        """Download one file of a run's artifacts into `folder`."""
        folder.mkdir(exist_ok=True)
        aside = tempfile.TemporaryDirectory(dir=folder)  # stores differ in whether they keep the file's folders
        with aside, _missing_as_user_error(f"{path} of run {run_id}"):
            Path(self.client.download_artifacts(run_id, path, aside.name)).rename(folder / Path(path).name)

    # --- versions ---

    def versions(self, model_name: str, **tags: str) -> list[Version]:
        """Versions that have these tags, newest first. An empty tag equals a missing one.

        The server is asked for short values only: a request's address with hundreds of ids is too long for a proxy.
        """
        short = {key: value for key, value in tags.items() if 0 < len(value) <= MOST_ASKED}
        terms = [f"name = '{model_name}'", *(f"tags.`{key}` = '{value}'" for key, value in short.items())]
        found, token = [], None
        while token != "":
            page = self.client.search_model_versions(" and ".join(terms), page_token=token)
            found += [_version(version) for version in page if _has(version.tags, tags)]
            token = page.token or ""
        return sorted(found, key=lambda version: -int(version.number))

    def version(self, model_name: str, number: str) -> Version:
        """One version, with its aliases.

        Raises:
            UserError: there is none with this number.
        """
        try:
            return _version(self.client.get_model_version(model_name, number))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
        known = ", ".join(version.number for version in reversed(self.versions(model_name)))
        raise UserError(f"{model_name} has no version {number!r}; registered are: {known or 'none'}")

    def at_alias(self, model_name: str, alias: str) -> Version | None:
        """The version that has an alias, or None."""
        try:
            return _version(self.client.get_model_version_by_alias(model_name, alias))
        except MlflowException as error:
            # To MLflow an unused alias is an invalid parameter, an unregistered model does not exist.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or f"alias {alias} not found" in str(error):
                return None
            raise

    def number_at_alias(self, model_name: str, alias: str) -> str:
        """Number of that version, or empty."""
        version = self.at_alias(model_name, alias)
        return version.number if version else ""

    def create_version(
        self, record: Record, model_name: str, logged: Logged, identity: Mapping[str, str], tags: Mapping[str, str]
    ) -> Version:
        """Register a logged model as the next version with these tags; those in `identity` make it what it is.

        If an answer was lost, or another process was as fast, the oldest version with this identity counts and the
        copies made here are deleted.

        Raises:
            UserError: another process, which began later, deleted the logged model.
        """
        tags = {key: value for key, value in {**identity, **tags, "saved_sha256": logged.saved_sha256}.items() if value}
        try:
            self.client.create_registered_model(model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"models:/{logged.id}"
        with logged_model_of_ours(self.client, logged.id):
            self.client.create_model_version(
                model_name,
                source,
                run_id=record.run_id,
                tags=tags,
                model_id=logged.id,
                await_creation_for=0,  # its files are there already
            )
        first, *others = reversed(self.versions(model_name, **identity))
        return self._without_copies(first, [other for other in others if other.logged.id == logged.id])

    def known_version(self, model_name: str, identity: Mapping[str, str]) -> Version | None:
        """The newest version with these tags; of several made by one lost answer only the oldest is kept."""
        found = self.versions(model_name, **identity)
        if not found:
            return None
        same = [version for version in found if version.logged.id == found[0].logged.id]
        return self._without_copies(same[-1], same[:-1])

    def _without_copies(self, kept: Version, copies: Sequence[Version]) -> Version:
        for copy in copies:
            if not self.version(copy.model_name, copy.number).aliases:  # a search does not return aliases
                self.client.delete_model_version(copy.model_name, copy.number)
        return kept

    def describe(self, version: Version, text: str, tags: Mapping[str, str]) -> None:
        """Set the description and tags of a version."""
        self.client.update_model_version(version.model_name, version.number, description=text)
        self.tag(version, tags)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set the tags of a version that differ."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self.client.set_model_version_tag(version.model_name, version.number, key, value)

    def set_alias(self, version: Version, alias: str) -> None:
        """Give an alias to a version; the version that had it loses it."""
        self.client.set_registered_model_alias(version.model_name, alias, version.number)

    def drop_alias(self, model_name: str, alias: str) -> None:
        """Remove an alias."""
        self.client.delete_registered_model_alias(model_name, alias)

    def download(self, version: Version, folder: str | Path) -> Path:
        """Download all files of a version into `folder`; its model directory is MODEL_PATH below what is returned.

        Raises:
            UserError: they are not there.
        """
        where = self.client.get_model_version_download_uri(version.model_name, version.number)
        with _missing_as_user_error(f"files of {version.model_name} version {version.number}"):
            saved = mlflow_artifacts.download_artifacts(artifact_uri=where, dst_path=str(folder), tracking_uri=self.uri)
        # MLflow adds this to a store on its own disk when the version is loaded there; it is not part of the version.
        (Path(saved) / "registered_model_meta").unlink(missing_ok=True)
        return Path(saved)


@contextmanager
def _missing_as_user_error(what: str) -> Iterator[None]:
    """Stores on disk raise the system's own error if something is missing."""
    try:
        yield
    except OSError as error:
        if type(error) not in (OSError, FileNotFoundError, NotADirectoryError, PermissionError):
            raise  # a lost connection is an OSError too
        raise UserError(
            f"{what}: not readable in MLflow's artifact store ({error}); restore it there, or "
            " check this account's access"
        ) from None


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
