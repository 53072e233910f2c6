"""Who cannot see the report, or has no mouse, or has it on paper, gets the same report."""

import json
import re

import pytest

from i2i_unlearn.report import write_report
from tests.report.made_facts import made_facts, made_metrics, made_verdicts

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FOCUSABLE = """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((e) => e.getClientRects().length && !e.closest("dialog:not([open])"))
  .map((e, at) => (e.dataset.at = at))"""


@pytest.fixture(scope="module", params=["demo", "nothing shown"])
def address(tmp_path_factory, request):
    """The demo's report, and one of which much is missing."""
    facts = made_facts()
    if request.param == "nothing shown":
        facts = made_facts(
            metrics={**made_metrics(references=0), "audits": {}},
            verdicts=made_verdicts("undecided"),
            pictures=[],
            embeddings=None,
            steps=[],
            show_forget_images=False,
        )
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(facts, out)
    return f"{out.as_uri()}#everything"


def serious_faults(page):
    """What axe-core finds: rule and the first element at fault."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    return [
        (fault["id"], json.dumps(fault["nodes"][0]["target"]), fault["nodes"][0]["failureSummary"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_or_critical_fault(open_page, address, scheme):
    # axe puts its own script into the page, which the page's policy forbids to all others
    page = open_page(address, bypass_csp=True, color_scheme=scheme)
    assert serious_faults(page) == []


def test_axe_finds_no_fault_in_the_comparison_either(open_page, tmp_path):
    write_report(made_facts(), tmp_path / "report.html")
    page = open_page((tmp_path / "report.html").as_uri(), bypass_csp=True)
    page.locator(".compare").first.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    assert serious_faults(page) == []


def test_tab_reaches_everything_in_the_order_of_the_page_and_traps_nobody(open_page, address):
    page = open_page(address.partition("#")[0])  # a fragment would be where Tab begins
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    every = page.evaluate(FOCUSABLE)
    reached = []
    for _ in every:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("+document.activeElement.dataset.at"))
    assert reached == every


def test_tables_say_which_cells_are_heads_and_figures_have_words(open_page, address):
    page = open_page(address)
    for table in page.locator("main table").all():
        assert table.locator("th").count() == table.locator("th[scope]").count()
    for drawing in page.locator("svg.plot").all():
        assert drawing.get_attribute("aria-label")


def pages_of(pdf):
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def with_everything(open_page, address):
    """The page, open, and told to print all of it."""
    page = open_page(address)
    page.get_by_label("Print them, too").check()
    return page


def test_printed_are_at_most_three_pages_or_what_was_opened(open_page, address):
    page = open_page(address.partition("#")[0], color_scheme="dark")
    pdf = page.pdf(format="A4")
    assert 1 <= pages_of(pdf) <= 3
    pictures = page.locator(".first img").count()
    assert len(re.findall(rb"/Subtype\s*/Image", pdf)) >= min(pictures, 1)
    assert pages_of(pdf) < pages_of(with_everything(open_page, address).pdf(format="A4")) <= 20


def test_on_paper_no_figure_is_longer_than_a_page_nor_wider(open_page, address):
    page = with_everything(open_page, address)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1040})  # A4 less its margins, at 96 dots an inch
    for box in page.eval_on_selector_all(
        "figure", "all => all.map((e) => [e.getBoundingClientRect().right, e.getBoundingClientRect().height])"
    ):
        assert box[0] <= 721
        assert box[1] <= 1040
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    hidden = page.eval_on_selector_all(
        "main section, main table, main figure", "all => all.filter((e) => !e.getClientRects().length).length"
    )
    assert hidden == 0
