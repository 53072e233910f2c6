"""What holds for a database file holds for a server: artifacts on disk or in an object store, PostgreSQL behind it."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from mlflow import MlflowClient, pyfunc

from i2i_unlearn.config.sections import RegisterConfig, SnapshotConfig
from i2i_unlearn.registry import tracking
from i2i_unlearn.registry.requests import find_champion
from i2i_unlearn.stages import promote, register, snapshot
from i2i_unlearn.support import files
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps import record, table
from tests.registry.servers import CutConnection, free_port, mlflow_server, object_store, postgres
from tests.registry.world import Registered, completed_by, images, make_folders
from tests.support.says import says
from tests.sweeps.point_folders import write_point

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(params=["file", "server", "server with s3", "server with postgres", "postgres"], scope="module")
def place(request, tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment that says where MLflow is."""
    folder = tmp_path_factory.mktemp("place")
    with ExitStack() as stack:
        if request.param == "file":
            yield {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        elif request.param == "server":
            yield {"MLFLOW_TRACKING_URI": request.getfixturevalue("mlflow_address")}
        elif request.param == "server with s3":
            store = stack.enter_context(object_store("models"))
            server = mlflow_server(folder, artifacts="s3://models/mlflow", environment=store)
            yield {"MLFLOW_TRACKING_URI": stack.enter_context(server)}
        else:
            database = stack.enter_context(postgres())
            if request.param == "postgres":
                yield {"MLFLOW_TRACKING_URI": database}
            else:
                yield {"MLFLOW_TRACKING_URI": stack.enter_context(mlflow_server(folder / "server", backend=database))}


def test_a_model_lives_through_everything_wherever_mlflow_is(
    place, teacher, folders, tmp_path, config, promote_config, monkeypatch
):
    for key, value in place.items():
        monkeypatch.setenv(key, value)
    assert find_champion(config.model_name) is None
    assert register.run_original(teacher, config)["alias"] == "champion"
    first = register.run(*folders.inputs, config)
    again = register.run(*folders.inputs, config)
    assert (first["version"], first["alias"], again["registered"]) == ("2", "candidate", "already")
    assert again["run_id"] == first["run_id"]
    with says(UserError, config.model_name, "'7'", "1, 2"):
        promote.run(promote_config, config, version="7")
    assert promote.run(promote_config, config, by="Ada")["replaced"] == "1"
    taken = snapshot.run(
        tmp_path / "snapshot",
        SnapshotConfig(source=f"models:/{config.model_name}/2", sha256="", model="", checkpoint={}),
    )
    assert taken["model_sha256"] == files.digest_folder(folders.model)
    champion = pyfunc.load_model(f"models:/{config.model_name}@champion")
    np.testing.assert_array_equal(champion.predict(images()), completed_by(folders.model))
    second = make_folders(tmp_path / "second", folders.model, seed=2, requests=("digit-5",), erased=("digit-3",))
    assert register.run(*second.inputs, config)["alias"] == "candidate"
    assert promote.run(promote_config, config)["replaced"] == "2"
    worse = register.run(*second.evaluate("fail").inputs, config)
    assert (worse["version"], worse["registered"], worse["alias"]) == ("3", "added", "champion")
    points = [write_point(tmp_path / f"point-{alpha}", -1.0, -0.1, -0.01, alpha=alpha) for alpha in (0.1, 1.0)]
    table.run(points, tmp_path / "table")
    assert record.run(tmp_path / "table", "sweeps")["recorded"] == "new"
    assert record.run(tmp_path / "table", "sweeps")["recorded"] == "already"
    client = MlflowClient()
    assert len(client.search_runs([client.get_experiment_by_name("sweeps").experiment_id])) == 3
    run = client.get_run(first["run_id"])
    assert run.data.metrics["unlearned/forget/hole_psnr_db"] == 8.0
    assert [output.model_id for output in run.outputs.model_outputs] == [
        Registered(config).version("2").logged.id  # lineage: the run made this model
    ]
    assert not (tmp_path / "mlflow.db").exists()
    if not place["MLFLOW_TRACKING_URI"].startswith("postgresql"):  # a bare database puts artifacts into the folder
        assert not (tmp_path / "mlruns").exists()


# --- a connection that is cut ---


@pytest.fixture
def cut(mlflow_address, monkeypatch) -> Iterator[CutConnection]:
    """MLflow is reached through a connection that can be cut."""
    proxy = CutConnection(mlflow_address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    yield proxy
    proxy.close()


def everything_once(config: RegisterConfig) -> None:
    """One run, one logged model that is ready, one version, one alias."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(config.experiment)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert str(model.status) == "READY"
    (version,) = client.search_model_versions(f"name = '{config.model_name}'")
    assert version.source == f"models:/{model.model_id}"
    assert version.tags["evaluation_run_id"] == run.info.run_id
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert len(client.get_metric_history(run.info.run_id, "steps/total")) == 3
    assert len(client.get_metric_history(run.info.run_id, "unlearned/forget/hole_psnr_db")) == 1
    assert Registered(config).alias("candidate") == version.version


def of_its_own(config: RegisterConfig, name: object) -> RegisterConfig:
    return config.model_copy(update={"model_name": f"{config.model_name}-{name}", "experiment": f"cut-{name}"})


@pytest.fixture
def requests_made(cut, folders, config) -> dict[str, int]:
    """Of one registration, every kind of request and the number of the first of its kind."""
    own = of_its_own(config, f"{config.model_name}-count")
    cut.reset()
    register.run(*folders.inputs, own)
    lines = list(cut.lines)
    everything_once(own)
    kinds: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        method, _, path = line.partition(" ")
        parts = [part for part in path.split("/") if part.isalpha() or part in ("2.0", "model-versions")]
        kinds.setdefault(f"{method} {'/'.join(parts)} {'put' if 'artifacts' in path else ''}", number)
    assert len(kinds) > 10, kinds
    return kinds


def some_of(requests_made: dict[str, int], fate: str, *, first: int) -> list[int]:
    """Numbers of every third kind of request, from `first` on: a registration over HTTP takes seconds."""
    # A lost answer of GET is a lost request.
    kinds = [kind for kind in requests_made if fate == "before" or not kind.startswith("GET")]
    return [requests_made[kind] for kind in kinds[first::3]]


@pytest.mark.parametrize("fate", ["before", "after"])
def test_one_lost_request_or_answer_anywhere_is_made_good(cut, requests_made, folders, config, fate):
    for number in some_of(requests_made, fate, first=0):
        own = of_its_own(config, f"{fate}-{number}")
        cut.reset({number: fate})
        register.run(*folders.inputs, own)
        everything_once(own)


@pytest.mark.parametrize("fate", ["before", "after"])
def test_a_server_that_is_gone_from_any_request_on_is_one_line_and_the_same_command_goes_on(
    cut, requests_made, folders, config, fate, monkeypatch
):
    for number in some_of(requests_made, fate, first=1):
        own = of_its_own(config, f"gone-{fate}-{number}")
        cut.reset({number: fate}, dead_from=number + (fate == "after"))
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            with pytest.raises(UserError, match=r"cannot be reached .no connection.|the connection was lost") as told:
                register.run(*folders.inputs, own)
        assert "\n" not in str(told.value)
        cut.reset()
        register.run(*folders.inputs, own)
        everything_once(own)


# --- who may, and over what line ---


def test_a_server_that_asks_for_a_name_gets_it_and_refuses_others(tmp_path, teacher, config, monkeypatch):
    (tmp_path / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\nadmin_username = admin\nadmin_password = a-long-pass-word\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {"MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "x" * 20}
    with mlflow_server(tmp_path / "server", "--app-name", "basic-auth", environment=environment) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with says(UserError, uri, "MLFLOW_TRACKING_USERNAME"):
            register.run_original(teacher, config)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-pass-word")
        with pytest.raises(UserError, match="refuses access") as told:
            register.run_original(teacher, config)
        assert "wrong-pass-word" not in str(told.value)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-long-pass-word")
        assert register.run_original(teacher, config)["alias"] == "champion"
        assert find_champion(config.model_name).sha256 == files.digest_folder(teacher)


def test_a_server_behind_tls_is_trusted_by_its_authority_alone(tmp_path, teacher, config, monkeypatch):
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("user@example.org")
    server.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    server.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    options = {"keyfile": "key.pem", "certfile": "cert.pem", "ca-certs": "ca.pem"}
    words = [f"--ssl-{name} {tmp_path / file}" for name, file in options.items()]
    uvicorn = " ".join([*words, f"--ssl-cert-reqs {int(ssl.CERT_OPTIONAL)}"])
    with mlflow_server(tmp_path / "server", "--uvicorn-opts", uvicorn, scheme="https") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with says(UserError, uri, "secure connection", "MLFLOW_TRACKING_SERVER_CERT_PATH"):
            find_champion(config.model_name)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "nothing.pem"))
        with says(UserError, uri, "secure connection", "nothing.pem"):
            find_champion(config.model_name)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(tmp_path / "client.pem"))
        assert register.run_original(teacher, config)["alias"] == "champion"
        tracking.fetch_version(f"models:/{config.model_name}/1", tmp_path / "fetched")
        assert files.digest_folder(tmp_path / "fetched") == files.digest_folder(teacher)
        monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        assert find_champion(config.model_name).version == "1"


# --- what is missing ---


def test_a_database_server_that_is_down_is_one_line_after_a_few_seconds(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+psycopg2://user:secret@127.0.0.1:{free_port()}/mlflow")
    with pytest.raises(UserError, match=r"database at postgresql.*://127.* cannot be reached") as told:
        find_champion("any")
    assert "secret" not in str(told.value) + capsys.readouterr().err


def test_an_object_store_that_is_gone_is_one_line_and_registering_goes_on_when_it_is_back(
    tmp_path, folders, config, monkeypatch
):
    with object_store("models") as environment, ExitStack() as stack:
        for key, value in environment.items():
            stack.enter_context(pytest.MonkeyPatch.context()).setenv(key, value)
        uri = stack.enter_context(
            mlflow_server(tmp_path / "server", "--no-serve-artifacts", "--default-artifact-root", "s3://models/root")
        )
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")
            with pytest.raises(UserError) as told:
                register.run(*folders.inputs, config)
            assert "\n" not in str(told.value)
        assert register.run(*folders.inputs, config)["registered"] == "new"
        everything_once(config)
