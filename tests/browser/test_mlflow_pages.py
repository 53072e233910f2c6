"""MLflow's own pages show the chain: from a version to its run, what that run started from and made, and its data."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from i2i_unlearn.config.sections import RegisterConfig
from i2i_unlearn.stages import register
from tests.registry.servers import mlflow_server
from tests.registry.world import OPERATOR, make_folders, make_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WAIT_MS = 120_000  # the server has one worker, and MLflow's pages are large


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with mlflow_server(tmp_path / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


def row_of(page, *words):
    """The table row that holds all these words."""
    rows = page.get_by_role("row")
    for word in words:
        rows = rows.filter(has_text=word)
    return rows.first


def test_the_pages_lead_from_a_version_to_all_that_it_was_made_from(browser, server: str, tmp_path: Path):
    teacher = make_model(tmp_path / "teacher/model", seed=0)
    config = RegisterConfig(model_name="inpainter", experiment="forgetting", **OPERATOR)
    register.run_original(teacher, config)
    facts = register.run(*make_folders(tmp_path / "artifacts", teacher).inputs, config, by="Ada")
    manifest = MlflowClient().get_model_version("inpainter", "2").tags["manifest_sha256"]

    page = browser.new_context(viewport={"width": 1600, "height": 2400}).new_page()
    page.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    # The version: what it is, and who says so.
    page.goto(f"{server}/#/models/inpainter/versions/2")
    for name, value in (("requests", "digit-3"), ("gate", "pass"), ("teacher_version", "1"), ("registered_by", "Ada")):
        row_of(page, name, value).wait_for()
    row_of(page, "manifest_sha256", manifest).wait_for()
    page.get_by_text("@ candidate").first.wait_for()

    # Its run: which images played which role, which model it started from, which it made.
    page.get_by_role("link", name="unlearn digit-3").first.click()
    page.wait_for_url(re.compile(facts["run_id"]))
    page.get_by_text(f"splits ({manifest[:36]})").first.wait_for()
    page.get_by_text("Logged models (2)").wait_for()
    row_of(page, "Output", "inpainter", "v2").wait_for()
    started_from = row_of(page, "Input", "inpainter", "v1")
    started_from.wait_for()

    # From there to the teacher's version.
    started_from.locator("a[href*='/models/inpainter/versions/1']").first.click()
    page.wait_for_url(re.compile("/models/inpainter/versions/1"))
    row_of(page, "kind", "original").wait_for()
    assert not errors
