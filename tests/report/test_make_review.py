import base64
import datetime
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.findings import FINDINGS_VERSION
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.report import make_review
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder

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


def made_evaluation(tiny, folder, **digests):
    """Metrics of an evaluation whose membership audit named two images."""
    forget = read_manifest(tiny.splits / "manifest.parquet").of("forget")["hmac_id"].tolist()
    models = {name: digest_folder(path) for name, path in (("unlearned", tiny.artifact("unlearned/model")),)} | digests
    worst = {"by": "loss", "codes": [forget[5], forget[2]], "scores": [3.0, 1.0]}
    folder.mkdir()
    content = {
        "schema_version": FINDINGS_VERSION,
        "models": models,
        "manifest_sha256": digest_file(tiny.splits / "manifest.parquet"),
        "audits": {"membership": {"facts": {"worst_images": worst}}},
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    return worst["codes"]


def test_the_most_exposed_images_come_first_with_their_codes_and_every_model_has_a_column(tiny, tmp_path):
    codes = made_evaluation(tiny, tmp_path / "evaluation")
    config = tiny.config("evaluate", policies=read_policies(POLICIES))
    unlearned = tiny.artifact("unlearned")
    references = [tiny.artifact("reference"), tiny.artifact("reference")]
    facts = make_review.run(
        *(tiny.images, tiny.splits, tiny.teacher, unlearned, references, tmp_path / "review", config, LAST),
        original=tiny.artifact("reference/1/model"),
        evaluation=tmp_path / "evaluation",
    )
    text = Path(facts["page"]).read_text()
    assert facts["num_exposed"] == 2
    assert re.findall(r'<code class="code">(\w+)</code>', text) == codes
    columns = re.findall(r'data-column="([\w ()]+)"', text)
    assert columns[:7] == ["Image", "Given", "Original", "Before", "After", "Retrained", "Retrained (2)"]
    first = re.search(r'src="data:image/png;base64,([^"]+)" alt="Forget, exposed image 1 of 2', text)
    place = read_manifest(tiny.splits / "manifest.parquet").of("forget").iloc[[5]]
    pixels = load_pixels(tiny.images, place, image_size=(16, 16), num_channels=1, description="")
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(first[1])))) == pixels[0, 0].numpy()).all()


def test_an_evaluation_of_another_model_is_refused(tiny, tmp_path):
    made_evaluation(tiny, tmp_path / "evaluation", unlearned="0" * 64)
    config = tiny.config("evaluate", policies=read_policies(POLICIES))
    given = (tiny.images, tiny.splits, tiny.teacher, tiny.artifact("unlearned"), "", tmp_path / "review", config, LAST)
    with pytest.raises(UserError, match="another version of unlearned.*evaluate"):
        make_review.run(*given, evaluation=tmp_path / "evaluation")
    assert not (tmp_path / "review").exists()
