import datetime
import re
from pathlib import Path

import pytest

from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.report import make_review
from i2i_unlearn.support.errors import UserError

LAST = datetime.date(2026, 12, 7)
POLICIES = Path(__file__).parents[2] / "mlflow" / "policies"


def run_on(tiny, out):
    """The stage on the tiny project, whose settings show no forget image in the report."""
    config = tiny.config("evaluate", policies=read_policies(POLICIES), show_forget_images=False)
    unlearned, reference = tiny.artifact("unlearned"), tiny.artifact("reference")
    return make_review.run(tiny.images, tiny.splits, tiny.teacher, unlearned, reference, out, config, LAST)


def test_the_page_shows_forget_images_as_every_model_completes_them(tiny, tmp_path):
    facts = run_on(tiny, tmp_path / "review")
    text = Path(facts["page"]).read_text()
    assert facts["expires"] == "2026-12-07"
    columns = re.findall(r'data-column="(\w+)"', text)
    assert columns[:5] == ["Image", "Given", "Before", "After", "Retrained"]
    assert not re.search(r'alt="Retain', text)


@pytest.mark.parametrize("inside", ["unlearned", "unlearned/review", "reference/1/model"])
def test_a_folder_that_is_kept_is_refused_before_any_image_is_read(tiny, inside):
    before = sorted(tiny.artifact("unlearned").rglob("*"))
    with pytest.raises(UserError, match="which is kept; give review pages a folder of their own"):
        run_on(tiny, tiny.artifact("unlearned").parent / inside)
    assert sorted(tiny.artifact("unlearned").rglob("*")) == before


def test_the_folder_of_an_evaluation_is_refused(tiny, tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="which is kept"):
        run_on(tiny, tmp_path / "review")


def test_the_commands_make_and_clean_say_what_they_did(command_line, tmp_path):
    (tmp_path / ".review").mkdir()
    page = tmp_path / ".review" / "x.html"
    page.write_text('<meta name="i2i-unlearn-expires" content="2020-01-01">')
    ended = command_line(tmp_path, "review", "clean")
    assert (ended.code, ended.out.strip()) == (0, "deleted .review/x.html")
    assert not page.exists()
    assert command_line(tmp_path, "review", "clean").out.strip() == ".review: no review page"


def test_the_command_takes_no_reference(command_line, params_written, tiny, tmp_path):
    params_written(tmp_path, tiny)
    where = ["--images", tiny.images, "--splits", tiny.splits, "--teacher", tiny.teacher]
    given = [*where, "--unlearned", tiny.artifact("unlearned"), "--reference", "", "--policies", POLICIES]
    ended = command_line(tmp_path, "review", "make", *map(str, given))
    assert ended.code == 0, ended.err
    (page,) = (tmp_path / ".review").glob("*.html")
    assert ended.out.splitlines()[-1] == f"Page: {page.relative_to(tmp_path)}"
    columns = re.findall(r'data-column="(\w+)"', page.read_text())
    assert columns[:4] == ["Image", "Given", "Before", "After"]
    assert "Retrained" not in columns
