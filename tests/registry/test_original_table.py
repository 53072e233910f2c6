"""The table of an original, kept with its version, takes the place of its weights when these are gone."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from i2i_unlearn.cli import main
from i2i_unlearn.config.sections import RegisterConfig, SnapshotConfig
from i2i_unlearn.evaluation.original import find_original
from i2i_unlearn.evaluation.original_table import FILE, read_table
from i2i_unlearn.registry.original_table import fetch_table, keep_table
from i2i_unlearn.stages import register, snapshot
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder
from tests.registry.world import Registered
from tests.support.says import says


@pytest.fixture
def chain(tiny, config):
    """Version 1 the original, version 2 unlearned from it."""
    how = {key: getattr(tiny.config("register"), key) for key in ("operator", "keep_fraction", "operator_patch_size")}
    config = RegisterConfig(**{**config.model_dump(), **how})
    register.run_original(tiny.teacher, config)
    register.run_original(tiny.artifact("unlearned/model"), config)
    chain = Registered(config)
    chain.tag("2", kind="unlearned", teacher_version="1", teacher_sha256=digest_folder(tiny.teacher))
    return chain


def kept(tiny, chain, **how):
    config = tiny.config("evaluate", policies={})
    return keep_table(tiny.images, tiny.splits, config, chain.config, **how)


def taken(chain, out):
    snapshot.run(out, SnapshotConfig(source=f"models:/{chain.name}/2", sha256="", checkpoint={}, model=""))
    return find_original(out / "model")


def test_where_the_weights_are_gone_the_table_is_fetched_and_a_changed_one_is_refused(tiny, chain, tmp_path):
    facts = kept(tiny, chain)
    assert facts["version"] == "1"
    assert chain.tags("1")["table_sha256"] == facts["table_sha256"]
    assert kept(tiny, chain, version="1") == facts  # the same table: the same run
    stored = Path(MlflowClient().get_model_version_download_uri(chain.name, "1").removeprefix("file://"))
    original, found = taken(chain, tmp_path / "whole")
    assert found.model == "original"
    stored.rename(tmp_path / "erased")
    try:
        original, found = taken(chain, tmp_path / "table")
        chain.tag("1", table_sha256="0" * 64)
        with says(UserError, f"models:/{chain.name}/1", "changed after it was kept"):
            taken(chain, tmp_path / "changed")
    finally:
        (tmp_path / "erased").rename(stored)
    assert original == ""
    assert found.in_metrics() == {"model": "table", "source": f"models:/{chain.name}/1", "why": ""}
    table = read_table(tmp_path / "table/original" / FILE)
    assert table.facts.model_sha256 == found.model_sha256 == digest_folder(tiny.teacher)
    assert fetch_table(f"models:/{chain.name}/2", tmp_path) is None


def test_only_an_original_has_a_table(tiny, chain):
    with says(UserError, "version 2 is not an original", "register --original"):
        kept(tiny, chain, version="2")
    other = Registered(RegisterConfig(**{**chain.config.model_dump(), "model_name": "nobody"}))
    with says(UserError, "no original is registered"):
        kept(tiny, other)


def test_the_command_tells_what_it_kept(tiny, chain, tmp_path, params_written):
    names = {"model_name": chain.name, "experiment": chain.config.experiment}
    params_written(tmp_path, tiny, register=names)
    words = ["registry", "keep-table", "--images", tiny.images, "--splits", str(tiny.splits)]
    ended = CliRunner().invoke(main.app, words, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert f"Kept with {chain.name} version 1" in ended.output
