"""The page of a sweep: it says what the table says, and needs nothing but itself."""

import html
import re

import pytest

from i2i_unlearn.sweeps.page import render
from i2i_unlearn.sweeps.plot import pareto_plot
from i2i_unlearn.sweeps.table import tabulate
from tests.sweeps.point_folders import write_point


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("points")
    return [
        write_point(root / "1", -0.5, -0.05, -0.02, alpha=0.1, outcome="fail"),
        write_point(root / "2", -1.9, -0.20, -0.30, alpha=0.25),
        write_point(root / "3", -1.0, -0.60, -0.50, objective="max_loss", alpha=0.25, outcome="undecided"),
        write_point(root / "4", objective="max_loss", alpha=9.0, diverged="step 7: the loss is not finite"),
    ]


@pytest.fixture(scope="module")
def page(folders):
    return render(tabulate(folders))


def rows(page):
    """Text of the cells of the table of points."""
    table = re.search(r'<table class="gate">.*?</table>', page, re.DOTALL).group()
    lines = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in line] for line in cells]


def test_every_point_and_both_landmarks_are_in_the_table_with_numbers_and_fronts(page):
    assert "<h1>4 points, 1 passed; 2 are on the front of forgetting against retention.</h1>" in page
    head, original, reference, first, second, beaten, diverged = rows(page)
    assert head[:3] == ["Point", "Front", "Forget set (dB)"]
    assert original[:3] == ["Original", "", "0.00"]
    assert reference[:3] == ["Retrained", "", "−2.00 −2.05 to −1.95"]
    front = "forgetting most, as unseen"
    assert first[:4] == ["encoder_l2 alpha 0.1", front, "−0.50 −0.55 to −0.45", "−0.05 −0.10 to 0.00"]
    assert second[:3] == ["encoder_l2 alpha 0.25", front, "−1.90 −1.95 to −1.85"]
    assert second[-2:] == ["✓ Passed as_unseen failed", "12.3 s"]
    assert beaten[:2] == ["max_loss alpha 0.25", ""]
    assert diverged[:3] == ["max_loss alpha 9", "", "–"]
    assert diverged[-2] == "! Diverged"
    assert "<strong>max_loss alpha 9:</strong> step 7: the loss is not finite" in page


def test_without_a_reference_the_page_says_so_and_has_no_columns_of_it(tmp_path):
    page = render(tabulate([write_point(tmp_path / "p", reference=None)]))
    assert "No reference" in page
    assert "Gap to reference" not in page
    assert [row[0] for row in rows(page)] == ["Point", "Original", "encoder_l2 alpha 0.25"]


def test_the_page_needs_no_network_runs_no_script_and_shows_no_image(folders, page):
    assert render(tabulate(folders)) == page
    assert "default-src 'none'; style-src 'unsafe-inline'" in html.unescape(page)
    assert not re.search(r"<(script|img|link|iframe|object|embed)\b", page)
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert "data:" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', page)) <= set(ids)


def test_hostile_names_stay_text(tmp_path):
    page = render(tabulate([write_point(tmp_path / "p", objective="<script>alert(1)</script>")]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_plot_marks_original_and_reference_and_names_values_and_outcomes_in_the_pages_colours(folders):
    svg = pareto_plot(tabulate(folders))
    assert svg.startswith('<svg role="img" aria-label="Each point')
    assert "var(--ink)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)
    words = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    assert {"Original", "Retrained", "encoder_l2", "max_loss", "front", "0.1 ✗", "0.25 ✓", "0.25 ?"} <= set(words)
    assert not [word for word in words if word.startswith("9")]  # diverged: it has no place


def test_a_mark_is_filled_where_the_point_is_on_the_front(folders):
    for chosen, num_hollow in ((folders, 1), (folders[:2], 0)):  # the third is beaten
        marks = re.findall(r'style="(fill[^;]*); stroke: [^;]*; stroke-width: 1.5', pareto_plot(tabulate(chosen)))
        assert sorted(marks) == ["fill-opacity: 0"] * num_hollow + ["fill: var(--teacher)"] * 2
