"""The registry is not believed too easily: another one, a lost alias, and what was left in the shell are noticed."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from i2i_unlearn.registry import check, history, project_registry, restore, rollback, tracking
from i2i_unlearn.registry.requests import find_champion, registry_facts
from i2i_unlearn.registry.tracking.connection import in_one_line
from i2i_unlearn.registry.tracking.moved import follow
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.registry.world import Registered, make_folders
from tests.support.says import says


@pytest.fixture
def promoted(registered, promote_config) -> Registered:
    """Version 2 was promoted, and the ledger says so."""
    promote.run(promote_config, registered.config, by="Ada")
    return registered


# --- another registry ---


def test_an_empty_database_is_not_taken_for_the_projects_registry(promoted, promote_config, folders, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/empty.db")
    name, record = promoted.name, promote_config.ledger
    words = (f"{name} has no version '2'", "promotion ledger", "promoted by Ada", "mlflow.db", "MLFLOW_TRACKING_URI")
    for ask in (
        lambda: find_champion(name, record),
        lambda: promote.run(promote_config, promoted.config),
        lambda: rollback.run(promote_config, promoted.config, by="Ada", reason="x"),
        lambda: register.run(*folders.inputs, promoted.config, ledger=record),
        lambda: register.run_original(folders.teacher, promoted.config, ledger=record),
    ):
        with says(UserError, *words):
            ask()
    known = registry_facts(name, record)
    assert known.promoted == {"digit-3"}  # by the ledger, not "open"
    assert "not the project's registry" in known.unreachable
    (finding, *_) = check.check(promote_config, name).findings
    assert "not the project's registry" in finding


def test_another_registry_with_a_champion_of_its_own_is_not_taken_for_a_moved_alias(
    promoted, promote_config, folders, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    register.run_original(folders.teacher, promoted.config)
    (finding,) = check.check(promote_config, promoted.name).findings
    assert "not the project's registry" in finding
    assert "by hand" not in finding


def test_a_missing_address_is_noticed_before_a_database_is_made(promoted, promote_config, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with says(UserError, "MLFLOW_TRACKING_URI is not set", "no mlflow.db", "version 2", "is champion"):
        find_champion(promoted.name, promote_config.ledger)
    known = registry_facts(promoted.name, promote_config.ledger)
    assert known.promoted == {"digit-3"}
    assert "MLFLOW_TRACKING_URI" in known.unreachable
    assert not Path("mlflow.db").exists()


def test_the_same_name_with_other_weights_is_another_registry(promoted, promote_config):
    promoted.tag("2", model_sha256="0" * 64)
    with says(UserError, "other weights (000000000000)", "--ledger"):
        find_champion(promoted.name, promote_config.ledger)


def test_the_ledger_names_the_registry_without_password_or_the_projects_path(promoted, promote_config, monkeypatch):
    (move,) = history.moves(ledger.read(promote_config.ledger), promoted.name)
    assert move.record["registry"] == os.environ["MLFLOW_TRACKING_URI"]
    assert project_registry.address("https://ada:secret@host/x") == "https://host/x"
    assert project_registry.address(f"sqlite:///{Path.cwd()}/mlflow.db") == "sqlite:///mlflow.db"


# --- the alias ---


def test_a_lost_champion_comes_back_with_a_line_in_the_ledger_and_the_original_does_not(
    promoted, promote_config, folders
):
    promoted.drop_alias("champion")
    lost = (promoted.name, "has no champion", "version 2 was promoted", "registry restore")
    with says(GateRefused, *lost):
        promote.run(promote_config, promoted.config)
    for record in (promote_config.ledger, ""):  # the version is marked, too
        with says(UserError, *lost):
            register.run_original(folders.teacher, promoted.config, ledger=record)
    with says(UserError, *lost):
        find_champion(promoted.name, promote_config.ledger)
    with says(UserError, *lost):
        rollback.run(promote_config, promoted.config, by="Ada", reason="x")
    assert promoted.alias("champion") is None
    facts = restore.run(promote_config, promoted.config, by="Bo", reason="ticket 44")
    assert (facts["outcome"], promoted.alias("champion")) == ("restored", "2")
    newest = history.moves(ledger.read(promote_config.ledger), promoted.name)[-1]
    assert (newest.record["event"], newest.record["by"], newest.version) == ("restore", "Bo", "2")
    assert check.check(promote_config, promoted.name).findings == ()
    assert restore.run(promote_config, promoted.config, by="Bo", reason="again")["outcome"] == "already champion"


def test_an_alias_moved_by_hand_is_put_back_and_the_other_version_was_never_champion(promoted, promote_config):
    other = promoted.copy("2", requests="digit-9")
    promoted.set_alias("champion", other)
    facts = restore.run(promote_config, promoted.config, by="Bo", reason="ticket 45")
    assert (facts["replaced"], promoted.alias("champion")) == (other, "2")
    with says(GateRefused, f"version {other} was never champion"):
        rollback.run(promote_config, promoted.config, version=other, by="Bo", reason="x", force=True)
    assert rollback.run(promote_config, promoted.config, by="Bo", reason="x", force=True)["version"] == "1"


def test_restoring_needs_a_person_and_something_promoted(registered, promote_config):
    with says(UserError, "--by NAME --reason TEXT"):
        restore.run(promote_config, registered.config, by="Bo")
    with says(UserError, "nothing was promoted", "register --original"):
        restore.run(promote_config, registered.config, by="Bo", reason="x")


# --- what was left in the shell, and in MLflow ---


def test_a_run_left_in_the_environment_gets_nothing(registered, config, folders, monkeypatch):
    client = MlflowClient()
    run = client.create_run(client.create_experiment(f"of-others-{config.model_name}"))
    client.set_terminated(run.info.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with says(UserError, "MLFLOW_RUN_ID", run.info.run_id, "has ended", "unset MLFLOW_RUN_ID"):
        register.run(*folders.evaluate(psnr=3.0).inputs, config)
    assert client.get_run(run.info.run_id).data.params == {}
    with says(UserError, "MLFLOW_RUN_ID", "has ended"):
        tracking.attached_stream()
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with says(UserError, "MLFLOW_RUN_ID", "does not exist"):
        register.run(*folders.inputs, config)


def test_another_registry_for_versions_is_refused(registered, config, folders, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{Path.cwd()}/other.db")
    with says(UserError, "MLFLOW_REGISTRY_URI", "other.db", "unset"):
        register.run(*folders.inputs, config)
    assert not Path("other.db").exists()


def test_a_deleted_experiment_is_named_with_what_to_do(registered, config, folders):
    client = MlflowClient()
    experiment = client.create_experiment(f"deleted-{config.model_name}")
    client.delete_experiment(experiment)
    with says(UserError, "deleted-", "was deleted", f"restore --experiment-id {experiment}", "register.experiment"):
        register.run(*folders.inputs, config.model_copy(update={"experiment": f"deleted-{config.model_name}"}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Can't locate revision identified by 'abc123'", ("newer MLflow", "pip install --upgrade mlflow")),
        ("out-of-date database schema (found version dc0000000000, but expected b7)", ("newer MLflow", "backup")),
        ("out-of-date database schema (found version 451aebb31d03, but expected b7)", ("older schema", "db upgrade")),
    ],
)
def test_a_database_of_another_mlflow_is_told(text, told):
    """MLflow 3.14 says the second of a database that 3.17 has opened, and advises an upgrade that it cannot make."""
    found = in_one_line("sqlite:///mlflow.db", MlflowException(text))
    assert all(word in found for word in told)


def test_the_newest_schema_of_this_mlflow_is_in_the_folder_that_is_looked_at():
    with tracking.connect() as server:
        database = server.uri.removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        ((found,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert "older schema" in in_one_line("sqlite:///x.db", MlflowException(f"schema (found version {found}, ..."))


# --- a project that is moved or copied ---


def test_a_copy_of_a_project_writes_into_its_own_files_only(
    config, promote_config, teacher, tmp_path, monkeypatch, capsys
):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(one)
    register.run_original(teacher, config)
    register.run(*make_folders(one / "artifacts", teacher).inputs, config)
    shutil.copytree(one, two)
    first = sorted(one.rglob("*"))
    monkeypatch.chdir(two)
    register.run(*make_folders(two / "again", teacher, seed=5).inputs, config)
    assert sorted(one.rglob("*")) == first
    assert capsys.readouterr().err.count(f"named the artifacts in {one}, now names those in {two}\n") == 1
    shutil.rmtree(one)
    assert promote.run(promote_config, config, version="2")["outcome"] == "promoted"  # its files are read and digested
    with sqlite3.connect(two / "mlflow.db") as connection:
        (places,) = zip(*connection.execute("SELECT artifact_uri FROM runs").fetchall(), strict=True)
    assert all(place.startswith(f"{two}/mlflow-artifacts/") for place in places)


def test_a_database_alone_keeps_the_places_it_names(tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        connection.execute("INSERT INTO experiments VALUES ('/elsewhere/mlflow-artifacts')")
    follow(tmp_path / "mlflow.db")  # there is no folder of artifacts next to it
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("SELECT * FROM experiments").fetchall() == [("/elsewhere/mlflow-artifacts",)]
    follow(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("old", "new", "follows"),
    [
        ((), ("1", "2"), True),  # moved
        ((), ("1",), True),
        (("1", "2"), ("1", "2"), True),  # copied
        (("1", "2"), (), False),  # a server's own folder, and one of the same name here
        (("1", "2"), ("2",), False),
        ((), (), False),  # a folder that is not mounted now
    ],
)
def test_a_database_follows_to_a_folder_that_holds_its_artifacts(tmp_path, capsys, old, new, follows):
    database = tmp_path / "two/mlflow.db"
    one, two = (tmp_path / name / "mlflow-artifacts" for name in ("one", "two"))
    two.mkdir(parents=True)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        connection.execute("CREATE TABLE runs (artifact_uri TEXT)")
        connection.execute("INSERT INTO experiments VALUES (?)", (str(one),))
        connection.executemany("INSERT INTO runs VALUES (?)", [(f"{one}/{run}/artifacts",) for run in ("1", "2", "3")])
    for folder, runs in ((one, old), (two, new)):
        for run in runs:
            (folder / run / "artifacts").mkdir(parents=True)
    follow(database)
    with sqlite3.connect(database) as connection:
        ((place,),) = connection.execute("SELECT * FROM experiments").fetchall()
    assert place == str(two if follows else one)
    assert capsys.readouterr().err.count("\n") == follows


def test_one_folder_at_two_places_is_not_corrected(tmp_path, capsys):
    """As where a container mounts the project at a second path."""
    (tmp_path / "two").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "two")
    with sqlite3.connect(tmp_path / "two/mlflow.db") as connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        connection.execute("CREATE TABLE runs (artifact_uri TEXT)")
        place = f"{tmp_path}/link/mlflow-artifacts"
        connection.execute("INSERT INTO experiments VALUES (?)", (place,))
        connection.execute("INSERT INTO runs VALUES (?)", (f"{place}/1/artifacts",))
    (tmp_path / "two/mlflow-artifacts/1/artifacts").mkdir(parents=True)
    follow(tmp_path / "two/mlflow.db")
    assert capsys.readouterr().err == ""


# --- a promoted version's record ---


def test_a_further_evaluation_of_a_promoted_version_is_added_and_changes_nothing(promoted, template, teacher, tmp_path):
    folders = make_folders(tmp_path / "template", teacher)  # the weights of version 2
    before, client = promoted.tags("2"), MlflowClient()
    described = client.get_model_version(promoted.name, "2").description
    facts = register.run(*folders.evaluate("fail", psnr=2.0).inputs, promoted.config, by="Cy")
    assert (facts["registered"], facts["gate"], facts["version"]) == ("added", "fail", "2")
    after = promoted.tags("2")
    assert after.pop("further_evaluations") == facts["run_id"] != before["evaluation_run_id"]
    assert after == before
    assert client.get_model_version(promoted.name, "2").description == described
    run = client.get_run(str(facts["run_id"]))
    assert (run.data.tags["gate"], run.data.tags["model_version"]) == ("fail", "2")
    again = register.run(*folders.inputs, promoted.config)
    assert (again["registered"], again["run_id"]) == ("already", facts["run_id"])
    more = register.run(*folders.evaluate("pass", psnr=3.0).inputs, promoted.config)
    assert promoted.tags("2")["further_evaluations"] == f"{facts['run_id']},{more['run_id']}"
    assert promoted.tags("2")["gate"] == "pass"


def test_only_short_values_are_asked_of_the_server(registered, monkeypatch):
    """A proxy refuses addresses of 8,190 characters: with 400 ids of requests, a search had 10,000."""
    asked: list[str] = []
    with tracking.connect() as server:
        search = server.client.search_model_versions

        def seen(terms: str, **how: object) -> object:
            asked.append(terms)
            return search(terms, **how)

        monkeypatch.setattr(server.client, "search_model_versions", seen)
        ids = ",".join(f"request-{number:04d}" for number in range(400))
        assert server.versions(registered.name, requests=ids, kind="unlearned") == []
        (found,) = server.versions(registered.name, requests="digit-3", kind="unlearned")
    assert found.number == "2"
    assert max(map(len, asked)) < 200


def test_a_database_that_may_only_be_read_is_told_with_its_owner(tmp_path):
    (tmp_path / "mlflow.db").touch()
    told = in_one_line(
        f"sqlite:///{tmp_path}/mlflow.db", MlflowException("attempt to write a readonly database [SQL: ...]")
    )
    assert told.startswith(f"{tmp_path}/mlflow.db: belongs to {(tmp_path / 'mlflow.db').owner()}")
    assert "SQL" not in told
