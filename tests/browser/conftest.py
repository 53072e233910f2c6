import importlib.util
import shutil
from pathlib import Path

import pytest

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def made():
    """The facts made by hand for the report's own tests."""
    path = Path(__file__).parents[1] / "report" / "made_facts.py"
    spec = importlib.util.spec_from_file_location("made_facts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, driven by Playwright; Playwright's own downloads are not needed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is missing; install it: apt-get install -y chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()
