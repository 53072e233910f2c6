"""The page of forget images: separate from the report, and only for some days."""

import base64
import datetime

import pytest

from i2i_unlearn.report import write_report
from i2i_unlearn.report.pictures import encode_png
from i2i_unlearn.report.review import clean, expiry_of, write_review
from i2i_unlearn.support.errors import UserError

LAST = datetime.date(2026, 12, 7)
DAY = datetime.timedelta(days=1)
OPERATOR = "The models are asked to fill in a hole in the centre."


@pytest.fixture
def review(made, tmp_path):
    """The page, written into a folder of its own."""
    grids = [made.made_grid(name, "worst") for name in ("forget", "forget_holdout")]
    return write_review(grids, ["digit-3"], OPERATOR, LAST, tmp_path / "review")


def test_the_page_is_for_its_owner_and_git_does_not_see_it(review):
    assert review.name == "forget-images-digit-3-until-2026-12-07.html"
    assert review.stat().st_mode & 0o777 == 0o600
    assert (review.parent / ".gitignore").read_text() == "*\n"


def test_the_page_shows_the_forget_images(made, review):
    image = base64.b64encode(encode_png(made.made_grid("forget", "worst").rows["unlearned"][0])).decode()
    assert f'src="data:image/png;base64,{image}"' in review.read_text()


def test_the_page_tells_its_last_day_and_that_it_cannot_delete_itself(review):
    text = review.read_text()
    assert expiry_of(review) == LAST
    assert "A file cannot delete itself" in text
    assert "i2i-unlearn review clean" in text


def test_pages_are_deleted_after_their_last_day_and_nothing_else_is(made, review):
    other = review.parent / "notes.html"
    other.write_text("<p>2020-01-01</p>")
    assert clean(review.parent, LAST) == ([], [review])
    assert clean(review.parent, LAST + DAY) == ([review], [])
    assert not review.exists()
    assert other.exists()
    assert clean(review.parent, LAST + DAY) == ([], [])


def test_all_pages_can_be_deleted_before_their_day(review):
    assert clean(review.parent, LAST - DAY, everything=True) == ([review], [])


def test_what_a_killed_run_left_goes_and_a_day_that_is_none_has_passed(review):
    half = review.with_name(f".{review.name}.new.123")
    half.write_text("pixels")
    wrong = review.with_name("forget-images-x-until-2026-13-40.html")
    wrong.write_text('<meta name="i2i-unlearn-expires" content="2026-13-40">')
    assert clean(review.parent, LAST) == ([half, wrong], [review])
    assert not half.exists()
    assert not wrong.exists()


def test_a_folder_with_a_gitignore_of_its_own_is_refused(made, tmp_path):
    (tmp_path / ".gitignore").write_text("/data/\n")
    with pytest.raises(UserError, match="review pages need a folder of their own"):
        write_review([], ["all-b"], "A hole.", LAST, tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "/data/\n"


def test_a_folder_that_is_not_there_has_no_page(tmp_path):
    assert clean(tmp_path / "nowhere", LAST) == ([], [])


def test_the_durable_report_is_no_review_page(made, tmp_path):
    write_report(made.made_facts(), tmp_path / "report.html")
    assert expiry_of(tmp_path / "report.html") is None
