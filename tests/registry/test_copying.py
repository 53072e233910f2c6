"""From one registry to another: the same bytes, the same evaluation, and where they came from."""

import numpy as np
import pytest
from mlflow import MlflowClient, pyfunc
from typer.testing import CliRunner

from i2i_unlearn.cli.main import app
from i2i_unlearn.registry import check, history, tracking
from i2i_unlearn.stages import promote, register
from i2i_unlearn.support import ledger
from i2i_unlearn.support.errors import GateRefused, UserError
from tests.registry.world import Registered, completed_by, images, write_params
from tests.support.says import says


@pytest.fixture(scope="session")
def production(tmp_path_factory) -> str:
    """A second registry."""
    return f"sqlite:///{tmp_path_factory.mktemp('production')}/mlflow.db"


def test_a_version_is_copied_checked_and_promoted_in_the_other_registry(
    teacher, folders, config, promote_config, production, mlflow_home, tmp_path, monkeypatch
):
    here = f"sqlite:///{mlflow_home}/mlflow.db"
    register.run_original(teacher, config)
    original = {"version": "1", "origin": here, "target": production}
    assert promote.run(promote_config, config, **original)["outcome"] == "already champion"
    register.run(*folders.inputs, config, by="Ada")
    params = write_params(tmp_path, config, promote_config)
    words = ["registry", "promote", "--from", here, "--to", production, "--by", "Bob", "--params", str(params)]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert f"{config.model_name} version 2 is champion now in place of version 1" in told.output
    again = promote.run(promote_config, config, version="2", origin=here, target=production, by="Bob")
    assert again["outcome"] == "already champion"
    assert Registered(config).alias("champion") == "1"  # the registry of origin is as it was
    old = Registered(config).tags("2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", production)
    new = Registered(config).tags("2")
    assert (new["origin_registry"], new["origin_version"], new["copied_by"]) == (here, "2", "Bob")
    assert new["origin_run_id"] == old["evaluation_run_id"] != new["evaluation_run_id"]
    for key in ("model_sha256", "saved_sha256", "evaluation_sha256", "manifest_sha256", "requests", "registered_by"):
        assert new[key] == old[key]
    client = MlflowClient()
    run = client.get_run(new["evaluation_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["unlearned/forget/hole_psnr_db"] == 8.0
    curve = client.get_metric_history(run.info.run_id, "steps/total")
    assert sorted(point.step for point in curve) == [1, 2, 3]
    assert len(client.search_model_versions(f"name = '{config.model_name}'")) == 2
    model = client.get_logged_model(Registered(config).version("2").logged.id)
    assert {metric.key: metric.value for metric in model.metrics}["unlearned/forget/hole_psnr_db"] == 8.0
    served = pyfunc.load_model(f"models:/{config.model_name}@champion")
    np.testing.assert_array_equal(served.predict(images()), completed_by(folders.model))
    (move,) = history.moves(ledger.read(promote_config.ledger), config.model_name)
    assert (move.version, move.record["by"]) == ("2", "Bob")
    assert check.check(promote_config, config.model_name).findings == ()


def test_what_was_changed_at_the_origin_or_has_no_champion_at_the_target_is_refused(
    registered, promote_config, production, mlflow_home
):
    places = {"origin": f"sqlite:///{mlflow_home}/mlflow.db", "target": production}
    good = registered.tags("2")["model_sha256"]
    registered.tag("2", model_sha256="0" * 64)
    with says(GateRefused, "version 2 at the origin", "weights"):
        promote.run(promote_config, registered.config, **places)
    with tracking.connect(production) as server:
        assert server.versions(registered.name) == []
    registered.tag("2", model_sha256=good)
    with says(GateRefused, "no champion", "register --original", "copy it"):
        promote.run(promote_config, registered.config, **places)


@pytest.mark.parametrize("how", [{"origin": "sqlite:///a.db"}, {"target": "sqlite:///a.db"}])
def test_both_addresses_are_needed(config, promote_config, how):
    with says(UserError, "--from and --to"):
        promote.run(promote_config, config, **how)


def test_the_environment_is_as_before(config, production, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///before.db")
    with tracking.connect(production) as server:
        assert server.uri == production
    assert tracking.connection.tracking_uri() == "sqlite:///before.db"
