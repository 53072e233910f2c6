"""The report in a real browser: it renders without complaint, can be read in both colour schemes, and is operable."""

import re
from pathlib import Path

import pytest

from i2i_unlearn.evaluation.policy import parse_policy, read_policies
from i2i_unlearn.report import write_report
from i2i_unlearn.report.facts import RequestFacts
from tests.report.made_facts import line, made_facts

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(made_facts(), out)
    return out.as_uri()


@pytest.fixture
def page(open_page, address):
    """The page, all of it open."""
    return open_page(f"{address}#everything")


def test_every_picture_and_drawing_is_there(page):
    sizes = page.eval_on_selector_all("main img", "all => all.map((image) => image.naturalWidth)")
    assert sizes == [12] * (4 * 2 * 3 * 5)
    assert page.locator("svg.plot").count() == 6
    assert all(box["height"] > 100 for box in (plot.bounding_box() for plot in page.locator("svg.plot").all()))


def test_headings_descend_without_gaps(page):
    levels = page.eval_on_selector_all("header h1, main h2, main h3, main h4", "all => all.map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_the_first_screen_holds_the_decision_the_pictures_and_the_four_numbers(open_page, address):
    page = open_page(address)
    for seen in ("h1", ".answer", ".first .grids", ".tiles >> nth=0"):
        box = page.locator(seen).bounding_box()
        assert box["y"] + box["height"] < 800, seen
    assert not page.locator("#everything table").first.is_visible()


def test_dark_differs_from_light_and_the_reader_can_choose(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    page.get_by_label("Colours").select_option("light")
    light = page.evaluate(ground)
    page.get_by_label("Colours").select_option("system")
    assert (light, page.evaluate(ground)) == ("rgb(255, 255, 255)", dark)
    assert dark != light


def test_the_size_of_pictures_follows_its_control(page):
    picture = page.locator("#everything .pictures img").first
    before = picture.bounding_box()["width"]
    page.get_by_label("Size of pictures").fill("160")
    assert (before, picture.bounding_box()["width"]) == (80, 160)


def test_two_models_are_laid_over_each_other_with_the_keyboard_alone(page):
    page.get_by_role("button", name="Compare images to forget, random image 2").focus()
    page.keyboard.press("Enter")
    lens = page.get_by_role("dialog", name="Two pictures over each other")
    assert lens.is_visible()
    assert page.locator("#lens-over").get_attribute("alt").startswith("Left: Forget, random image 2 of 3: completed by")
    page.keyboard.press("ArrowRight")  # the boundary has the focus
    assert page.evaluate("document.querySelector('.lens-view').style.getPropertyValue('--wipe')") == "51%"
    page.get_by_label("Right", exact=True).select_option("Retrained")
    assert "retrained without the forget images" in page.locator("#lens-under").get_attribute("alt")
    page.get_by_role("button", name="Next").click()
    assert "image 3 of 3" in page.locator("#lens-under").get_attribute("alt")
    assert "retrained without the forget images" in page.locator("#lens-under").get_attribute("alt")
    page.keyboard.press("Escape")
    assert not lens.is_visible()


def test_a_click_on_a_picture_compares_it(page):
    page.locator(".pictures img").nth(2).click()
    assert page.get_by_role("dialog").is_visible()
    page.get_by_role("button", name="Close").click()
    assert not page.get_by_role("dialog").is_visible()


def test_without_script_a_link_opens_everything_and_no_control_is_dead(open_page, address):
    page = open_page(address, java_script_enabled=False)
    drawing = page.locator("svg.plot").first
    assert drawing.evaluate("one => one.checkVisibility({contentVisibilityAuto: true})") is False
    page.get_by_role("link", name="open everything").click()
    assert drawing.evaluate("one => one.checkVisibility({contentVisibilityAuto: true})") is True
    assert page.locator("main img").count() == 120
    for selector in (".theme", ".controls", ".compare", "dialog"):
        assert not page.locator(selector).first.is_visible()


def test_a_narrow_screen_is_not_scrolled_sideways(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def pages(page):
    return len(re.findall(rb"/Type /Page\b", page.pdf(format="A4")))


def test_printed_it_has_three_pages_and_on_demand_everything(open_page, tmp_path):
    """With every line of both policies failed, three requests and the longest reasons."""
    verdicts = {name: _all_failed(name) for name in ("as_unseen", "forgotten")}
    requests = [RequestFacts(id=f"request-{number}", received="2024-05-02", due="2024-06-02") for number in range(3)]
    write_report(
        made_facts(verdicts={"deciding": "as_unseen", "verdicts": verdicts, "sentence": ""}, requests=requests),
        tmp_path / "report.html",
    )
    page = open_page((tmp_path / "report.html").as_uri())
    assert pages(page) == 3
    page.get_by_role("link", name="open everything").click()
    assert pages(page) == 3
    page.get_by_label("Print them, too").check()
    assert pages(page) > 8


def _all_failed(name):
    policy = parse_policy(name, read_policies(ROOT / "mlflow/policies")[name])
    why = (
        "-0.0593 (95 % interval -0.0893 to -0.0293), wanted at least -0.1 and at most 0.1; forget images are told apart"
    )
    lines = [
        line(one.name, str(one.measure), "fail", (-0.12345, -0.23456, -0.012345), one.bound())
        | {"why": why, "threshold_why": one.why}
        for one in policy.lines
    ]
    return {"policy": name, "asks": policy.asks, "preset": "", "if_passed": "", "outcome": "fail", "lines": lines}


def test_print_has_no_controls_and_fits_the_paper(page):
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 760, "height": 1000})
    assert not page.locator(".theme").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 760
