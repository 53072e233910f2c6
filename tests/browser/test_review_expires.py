"""The page of forget images in a real browser: it shows them until its last day, and not after it."""

import datetime

import pytest

from i2i_unlearn.report.review import write_review

pytestmark = pytest.mark.browser

LAST = datetime.date(2026, 12, 7)
SHOWN = "all => all.filter((image) => image.naturalWidth > 0).length"


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    grids = [made.made_grid(name, "worst") for name in ("forget", "forget_holdout")]
    folder = tmp_path_factory.mktemp("review")
    return write_review(grids, ["digit-3"], "A hole is filled in.", LAST, folder).as_uri()


@pytest.fixture
def open_at(browser, address):
    """`open_at(moment)`: the page as if opened then; the test fails if the browser complained."""
    contexts, complaints = [], []

    def go(moment, **settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.clock.install(time=moment)
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def test_until_its_last_day_it_shows_every_picture(open_at):
    page = open_at("2026-12-07T22:00:00Z")
    assert page.eval_on_selector_all("main img", SHOWN) == 2 * 3 * 5
    assert not page.get_by_text("This page has expired").is_visible()
    page.get_by_role("button", name="Compare forget, worst image 1").press("Enter")
    assert page.get_by_role("dialog").is_visible()
    assert page.locator("#lens-over").evaluate("image => image.naturalWidth") == 12


def test_after_its_last_day_it_shows_none(open_at):
    page = open_at("2026-12-08T00:00:01Z")
    assert page.eval_on_selector_all("img", SHOWN) == 0
    assert page.get_by_text("This page has expired").is_visible()
    assert page.locator("[data-source]").count() == 0


def test_a_page_that_stays_open_expires_too(open_at):
    page = open_at("2026-12-07T23:00:00Z")
    page.get_by_role("button", name="Compare forget, worst image 1").press("Enter")
    page.clock.run_for(2 * 3600 * 1000)
    assert not page.get_by_role("dialog").is_visible()
    assert page.eval_on_selector_all("img", SHOWN) == 0
    assert page.get_by_text("This page has expired").is_visible()


def test_without_script_it_shows_none(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.get_by_text("Pictures are shown only where scripts may run").is_visible()
    assert not page.locator("main img").first.is_visible()
    context.close()


def test_axe_finds_no_serious_or_critical_fault(open_at):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme in ("light", "dark"):
        page = open_at("2026-12-01T00:00:00Z", bypass_csp=True, color_scheme=scheme)
        page.clock.resume()
        faults = [fault["id"] for fault in axe.run(page).response["violations"]]
        impacts = [fault["impact"] for fault in axe.run(page).response["violations"]]
        assert not {"serious", "critical"} & set(impacts), faults
