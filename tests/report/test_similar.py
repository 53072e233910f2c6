"""The page of similar images: for its owner, until a day, and nothing on it is code."""

import datetime
import stat

from PIL import Image

from i2i_unlearn.data.search.nearest import Found
from i2i_unlearn.report.review import clean, expiry_of
from i2i_unlearn.report.similar import render, write_similar

LAST = datetime.date(2026, 12, 7)


def found(sample_id, correlation, mode="RGB"):
    return Found("s", 0, sample_id, ("cat", "dog"), ("ann",), "0" * 64, Image.new(mode, (8, 8)), correlation)


def answers(*images):
    return {"photo.jpg": (Image.new("L", (300, 200)), images)}


def test_the_page_says_what_looks_the_same_and_what_alike():
    text = render(answers(found("a/1", 0.991), found("a/2", 0.7, "L")), LAST)
    assert text.index("a/1") < text.index("the same (0.99)") < text.index("a/2") < text.index("alike (0.70)")
    assert "cat and dog" in text
    assert text.count('src="data:image/png') == 3


def test_names_are_no_code():
    text = render({"<b>.jpg": (Image.new("L", (3, 3)), [found("<script>x", 0.5)])}, LAST)
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text
    assert "<b>" not in text


def test_only_its_owner_may_read_it_until_its_day(tmp_path):
    page = write_similar(answers(found("a", 0.9)), LAST, tmp_path / "review")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert expiry_of(page) == LAST
    assert write_similar(answers(found("b", 0.9)), LAST, tmp_path / "review") == page  # the same photograph
    (tmp_path / "review/.similar-images-x.html.new.1").touch()  # of a killed run
    assert clean(page.parent, LAST) == ([tmp_path / "review/.similar-images-x.html.new.1"], [page])
    assert clean(page.parent, LAST + datetime.timedelta(days=1)) == ([page], [])
