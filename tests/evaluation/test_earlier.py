"""Earlier requests: which images are scored for them, and what the policy's lines on them say."""

import datetime

import numpy as np
import pandas as pd
import pytest

from i2i_unlearn.data.images.holdout import TRAIN, training_part
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.request import make_request, write_request
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.earlier import read_earlier
from i2i_unlearn.evaluation.gate import judge, parse_policy, read_policies
from i2i_unlearn.evaluation.rank_entry import rank_entry
from i2i_unlearn.stages import evaluate, split
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json
from tests.conftest import ROOT
from tests.evaluation.audits.test_rank_shift import MEMORY, SHAPES, answers, inputs_of
from tests.evaluation.quick import QUICK, quick
from tests.support.says import says

POLICIES = read_policies(ROOT / "mlflow/policies")
POLICY = parse_policy("as_unseen", POLICIES["as_unseen"])
DAY = datetime.date(2026, 1, 1)
LINES = [line.name for line in POLICY.lines if line.measure.earlier]
MEMORY_LINE = "no memory left of earlier requests"


# --- the lines, on made-up answers ---


def judged(**unlearned):
    """Lines on earlier requests by name; `unlearned`: by request, the answers of the unlearned model."""
    entries = {}
    for request, facts in unlearned.items():
        inputs = inputs_of({"teacher": answers(2, **MEMORY), "unlearned": facts})
        observed = {name: of for name, of in inputs.observed.items() if name != "retain"}
        entries[request] = rank_entry(inputs, observed, inputs.labels)
    verdict = judge({"models": {"teacher": "", "unlearned": ""}, "earlier_requests": entries}, POLICY)
    return {line.name: line for line in verdict.lines if line.name in LINES}


def test_the_worst_earlier_request_decides_and_the_others_are_told():
    found = judged(first=answers(3), second=answers(3, error=-2.0), third=answers(4))
    assert found[MEMORY_LINE].outcome == "fail"
    assert "(request second; request first pass, request third pass)" in found[MEMORY_LINE].why
    assert [found[name].outcome for name in LINES[1:]] == ["pass"] * len(SHAPES)


def test_a_trace_left_by_an_earlier_request_fails():
    assert judged(first=answers(3, a=-1.5))["no trace in the contrast of earlier requests"].outcome == "fail"


def test_a_model_that_remembers_an_earlier_request_as_the_original_does_is_not_passed():
    assert judged(first=answers(3, **MEMORY))[MEMORY_LINE].outcome == "undecided"


def test_where_no_request_was_promoted_the_lines_do_not_count():
    found = judged()
    assert {(line.outcome, line.decides) for line in found.values()} == {("n/a", False)}
    assert "no request was promoted before" in found[MEMORY_LINE].why


# --- the images ---


class Sequence:
    """A project in which `earlier` requests were promoted, by the sample ids that each selects."""

    def __init__(self, project, folder, **earlier):
        self.project, self.folder = project, folder
        requests = folder / "forget"
        requests.mkdir(parents=True)
        for id_, chosen in earlier.items():
            write_request(
                make_request(id=id_, received=DAY, due=DAY, basis="test", selector={"sample_ids": chosen}),
                requests / f"{id_}.yaml",
            )
        write_request(
            make_request(id="now", received=DAY, due=DAY, basis="test", selector={"labels": ["b"]}),
            requests / "now.yaml",
        )
        config = project.config("split", requests=["now"], erased=[*earlier])
        split.run(project.images, str(requests), folder / "splits", config, hmac_key_file=project.key)

    def config(self, **changes):
        return self.project.config("evaluate", policies=POLICIES, **changes)

    def read(self, **changes):
        splits = self.folder / "splits"
        manifest = read_manifest(splits / "manifest.parquet")
        return read_earlier(self.project.images, splits, manifest, self.config(**changes))


def some(project, label, trained, count):
    index = read_index(project.images)
    part = training_part(index, holdout_fraction=project.config("split").holdout_fraction, seed=0)
    return index[(index["label"] == label) & ((part == TRAIN) == trained)]["sample_id"].tolist()[:count]


RANKED = {"audits": {"run": ["rank_shift"]}}


def test_each_request_is_scored_alone_small_ones_together_and_what_was_held_out_is_never_seen(taught, tmp_path):
    trained, held_out = some(taught, "a", True, 12), some(taught, "a", False, 2)
    made = Sequence(
        taught, tmp_path, ten=trained[:6] + held_out, two=trained[6:8], one=[trained[8]], gone=["no such image"]
    )
    found = made.read(**RANKED)
    assert {name: len(chosen.rows) for name, chosen in found.requests.items()} == {"ten": 6, "gone, one, two": 3}
    assert len(found.holdout.rows) == 2
    assert set(found.holdout.rows["label"]) == {"a"}
    assert made.read(audits={"run": []}).sets() == {}


def test_a_list_that_is_missing_or_of_another_split_is_refused(taught, tmp_path):
    made = Sequence(taught, tmp_path, five=some(taught, "a", True, 5))
    path = tmp_path / "splits/earlier_requests.csv"
    listed = pd.read_csv(path)
    listed.assign(request="another").to_csv(path, index=False)
    with says(UserError, str(path), "another manifest.parquet", "i2i-unlearn split"):
        made.read(**RANKED)
    path.unlink()
    with says(UserError, str(path), "earlier requests (five)", "i2i-unlearn split"):
        made.read(**RANKED)


@pytest.fixture
def sequence(taught, tmp_path):
    made = Sequence(taught, tmp_path, five=some(taught, "a", True, 5), gone=["no such image"])
    unlearned = tmp_path / "unlearned"
    taught.unlearn(unlearned, splits=tmp_path / "splits", num_steps=2, warmup_steps=1)
    config = made.config(policy="as_unseen", **RANKED, **QUICK)
    parts = (taught.images, tmp_path / "splits", taught.teacher, unlearned, "", tmp_path / "evaluation")
    with quick():
        evaluate.run(*parts, config)
    return tmp_path / "evaluation"


def test_the_stage_judges_earlier_requests_and_shows_them(sequence):
    metrics, verdicts = (read_json(sequence / f"{name}.json") for name in ("metrics", "verdicts"))
    entry = metrics["earlier_requests"]["five"]
    assert (entry["status"], entry["num_images"]) == ("measured", 5)
    assert entry["models"]["teacher"]["error_shift"]["value"] == 0
    assert np.isfinite(entry["models"]["unlearned"]["error_shift"]["value"])
    assert metrics["earlier_requests"]["gone"]["status"] == "n/a"
    lines = {line["name"]: line for line in verdicts["verdicts"]["as_unseen"]["lines"]}
    assert lines[MEMORY_LINE]["decides"]
    assert "(request five; request gone n/a)" in lines[MEMORY_LINE]["why"]
    page = (sequence / "report.html").read_text()
    assert "Earlier requests" in page
    assert "Change of rank among images never seen, by error of earlier requests" in page
