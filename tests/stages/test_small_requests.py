"""Requests of one image and of two, from split to evaluation: nothing fails for being small."""

import datetime
import itertools
from types import SimpleNamespace

import pytest

from i2i_unlearn.data.images.holdout import TRAIN, training_part
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.images.shards import Record, write_shards
from i2i_unlearn.data.importers.embedded import stored_png
from i2i_unlearn.data.request import make_request, write_request
from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.evaluation.policy import parse_policy
from i2i_unlearn.stages import evaluate, split, unlearn
from i2i_unlearn.support.files import read_json
from tests.conftest import ROOT, pixels_of, write_images

POLICIES = read_policies(ROOT / "mlflow/policies")
DAY = datetime.date(2026, 1, 1)
SIZES = {"one": 1, "two": 2, "one of its class": 1, "one, and hardly a never-seen one": 1}
FEW_HELD_OUT = {"unseen_target_fraction": 0.95}


def alone(images):
    """A training image whose class has no other image: its id and label."""
    for number in itertools.count():
        record = Record(f"alone-{number}", "alone", stored_png(pixels_of("a", 1000 + number)))
        folder = images.with_name(f"try-{number}")
        write_shards([record], folder, "alone")
        index = read_index(str(folder))
        if training_part(index, holdout_fraction=0.25, seed=0)[0] == TRAIN:
            write_shards([record], images, "alone")
            return [record.sample_id]


def some_trained(images, count):
    index = read_index(str(images))
    trained = training_part(index, holdout_fraction=0.25, seed=0) == TRAIN
    return index[trained & (index["label"] == "b")]["sample_id"].tolist()[:count]


@pytest.fixture(scope="module", params=[*SIZES])
def small(request, taught, tmp_path_factory):
    """Split, unlearned so gently that nothing is lost, and evaluated: what was found, and how many images forgotten."""
    folder = tmp_path_factory.mktemp("small")
    images = write_images(folder / "images")
    chosen = alone(images) if request.param == "one of its class" else some_trained(images, SIZES[request.param])
    asked = make_request(id="small", received=DAY, due=DAY, basis="test", selector={"sample_ids": chosen})
    (folder / "forget").mkdir()
    write_request(asked, folder / "forget/small.yaml")
    fractions = FEW_HELD_OUT if "hardly" in request.param else {}
    config = taught.config("split", requests=["small"], **fractions)
    split.run(str(images), str(folder / "forget"), folder / "splits", config, hmac_key_file=taught.key)
    gentle = taught.config("unlearn", num_steps=2, warmup_steps=1, learning_rate=1e-7)
    parts = (str(images), folder / "splits", taught.teacher)
    unlearn.run(*parts, folder / "unlearned", gentle)
    audits = {"run": [*AUDITS]}
    config = taught.config("evaluate", policies=POLICIES, policy="as_unseen", num_bootstrap=50, audits=audits)
    evaluate.run(*parts, folder / "unlearned", "", folder / "evaluation", config)
    metrics, verdicts = (read_json(folder / f"evaluation/{name}.json") for name in ("metrics", "verdicts"))
    report = (folder / "evaluation/report.html").read_text()
    return SimpleNamespace(count=len(chosen), metrics=metrics, verdicts=verdicts["verdicts"], report=report)


def test_every_audit_is_not_applicable_and_says_how_many_images_it_needs(small):
    for name, entry in small.metrics["audits"].items():
        least, sets = AUDITS[name].load().min_images, AUDITS[name].load().sets
        if "forget" not in sets:
            continue  # of the images to keep there are enough
        assert entry["status"] == "n/a"
        assert f"{least} images of forget are needed, there are {small.count}" in entry["why"]
        assert entry["models"] == {}


def test_metrics_that_need_two_images_are_left_out_of_one(small):
    of_forget = small.metrics["scores"]["unlearned"]["forget"]
    assert {"hole_psnr_db", "own_loss"} < set(of_forget)
    assert ("output_spread" in of_forget) == (small.count > 1)
    assert any(name.startswith("kid_") for name in of_forget) == (small.count > 1)


def test_the_policy_is_undecided_by_the_lines_that_lack_images_and_no_line_passes_in_silence(small):
    verdict = small.verdicts["as_unseen"]
    assert verdict["outcome"] == "undecided"
    ranks = [line for line in verdict["lines"] if "rank_shift " in line["measure"] and "earlier" not in line["measure"]]
    assert len(ranks) == sum(line.rule in ("memory", "shape") and not line.measure.earlier for line in policy().lines)
    for line in ranks:
        assert (line["outcome"], line["decides"]) == ("n/a", True)
        assert f"5 images of forget are needed, there are {small.count}" in line["why"]
    outcomes = {line["name"]: line["outcome"] for line in verdict["lines"]}
    assert "fail" not in outcomes.values()
    assert outcomes["completed as by retraining"] == "n/a"
    assert "undecided" in small.report


def policy():
    return parse_policy("as_unseen", POLICIES["as_unseen"])
