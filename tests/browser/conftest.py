import shutil

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


@pytest.fixture
def open_page(browser):
    """`open_page(address, **settings)`: a page in a context of its own.

    The test fails if the browser complained or anything but the file was asked for.
    """
    contexts, complaints, asked = [], [], []

    def go(address, **settings):
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 800}, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: asked.append(sent.url))
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
