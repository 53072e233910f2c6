"""Rehearsal: which images stand in, what the gate makes of it, and that nothing of it stays."""

import datetime
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch

from i2i_unlearn.data.images.holdout import TRAIN, training_part
from i2i_unlearn.data.images.reading import read_index
from i2i_unlearn.data.request import make_request, write_request
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.gate import judge, parse_policy, read_policies
from i2i_unlearn.evaluation.original import TABLE, OriginalFacts
from i2i_unlearn.evaluation.original_table import FILE, make_table, write_table
from i2i_unlearn.evaluation.rehearsal import nearest
from i2i_unlearn.models import load_model
from i2i_unlearn.stages import evaluate, split, unlearn
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_folder, read_json
from tests.conftest import ROOT
from tests.evaluation.audits.test_rank_shift import MEMORY, SHAPES, answers, inputs_of, run_audits
from tests.evaluation.quick import QUICK, quick
from tests.support.says import says

POLICIES = read_policies(ROOT / "mlflow/policies")
POLICY = parse_policy("as_unseen", POLICIES["as_unseen"])
DAY = datetime.date(2026, 1, 1)
RANKED = ("no memory left", *SHAPES)


# --- who stands in ---


def test_each_image_in_turn_takes_the_nearest_of_its_class_that_is_left():
    errors = np.array([0.0, 3.0])
    labels = np.array(["a", "a"])
    candidates = np.array([1.0, 2.9, 0.1, 0.2, 9.0])
    classes = np.array(["a", "a", "a", "b", "a"])
    # the first takes .1 (1 and .1 away), the second 2.9, the first 1, the second 9; the b never
    assert nearest(errors, labels, candidates, classes, 3) == [2, 1, 0]
    assert nearest(errors, labels, candidates, classes, 39) == [2, 1, 0, 4]
    assert nearest(errors, labels, candidates, np.full(5, "c"), 39) == []


# --- what the gate makes of it ---


def verdict(rehearsed, num_forget=1):
    models = {"teacher": answers(2, **MEMORY), "unlearned": answers(3)}
    found = {
        "models": {"teacher": "", "unlearned": ""},
        "audits": run_audits(inputs_of(models, num_forget=num_forget), lambda *_: None),
    }
    if rehearsed is not None:
        again = {"teacher": answers(2, **MEMORY), "unlearned": rehearsed}
        entry = run_audits(inputs_of(again), lambda *_: None)["rank_shift"]
        found["rehearsal"] = {**entry, "facts": {**entry["facts"], "num_stand_ins": 9}}
    return {line.name: line for line in judge(found, POLICY).lines}


def test_a_recipe_that_leaves_no_trace_passes_by_rehearsal():
    found = verdict(answers(3))
    for name in RANKED:
        assert (found[name].outcome, found[name].by_rehearsal) == ("pass", True)
        assert found[name].why.startswith("by rehearsal with 9 stand-ins, ")


@pytest.mark.parametrize("recipe", [{"a": -2.0}, {"a": -99.0}])
def test_a_recipe_that_leaves_a_trace_passes_nothing_and_is_told(recipe):
    line = verdict(answers(3, **recipe))[SHAPES[0]]
    assert (line.outcome, line.by_rehearsal, line.decides) == ("n/a", False, True)
    assert "5 images of forget are needed" in line.why
    assert "a rehearsal does not help, fail" in line.why


def test_enough_images_speak_for_themselves_and_earlier_requests_have_no_rehearsal():
    found = verdict(answers(3, a=-99.0), num_forget=10)
    assert (found[SHAPES[0]].outcome, found[SHAPES[0]].by_rehearsal) == ("pass", False)
    assert verdict(answers(3))["no memory left of earlier requests"].outcome == "n/a"
    assert verdict(None)["no memory left"].outcome == "n/a"


# --- the stage ---

STEPS = {"num_steps": 6, "warmup_steps": 1, "learning_rate": 1e-5, "checkpoint_every_steps": 1}
AUDITS = {"run": ["rank_shift"]}


class Small:
    """A request of one image, unlearned."""

    def __init__(self, project, folder):
        self.project, self.folder = project, folder
        index = read_index(project.images)
        part = training_part(index, holdout_fraction=project.config("split").holdout_fraction, seed=0)
        one = index[(index["label"] == "b") & (part == TRAIN)]["sample_id"].tolist()[:1]
        asked = make_request(id="one", received=DAY, due=DAY, basis="test", selector={"sample_ids": one})
        (folder / "forget").mkdir()
        write_request(asked, folder / "forget/one.yaml")
        config = project.config("split", requests=["one"])
        split.run(project.images, str(folder / "forget"), folder / "splits", config, hmac_key_file=project.key)
        self.checkpoints = folder / "checkpoints"
        self.recipe = project.config("unlearn", checkpoint_uri=str(self.checkpoints), **STEPS)
        self.parts = (project.images, folder / "splits", project.teacher)
        unlearn.run(*self.parts, folder / "unlearned", self.recipe)

    def evaluate(self, recipe=None, **changes):
        settings = {"policies": POLICIES, "policy": "as_unseen", "audits": AUDITS} | QUICK | changes
        config = self.project.config("evaluate", rehearsal=True, **settings)
        parts = (*self.parts, self.folder / "unlearned", "", self.folder / "evaluation", config)
        with quick():
            return evaluate.run(*parts, recipe=recipe or self.recipe)

    def found(self):
        return read_json(self.folder / "evaluation/metrics.json")

    def left(self):
        """Files next to the evaluation, and checkpoints."""
        return sorted(path.name for path in [*self.folder.iterdir(), *self.checkpoints.glob("*")])


@pytest.fixture(scope="module")
def small(taught, tmp_path_factory):
    return Small(taught, tmp_path_factory.mktemp("small"))


def test_other_settings_than_those_of_the_model_are_refused_before_anything_runs(small):
    other = small.project.config("unlearn", **{**STEPS, "learning_rate": 1e-4})
    with says(UserError, "evaluate.rehearsal", "present settings of unlearn"):
        small.evaluate(other)
    assert not (small.folder / "evaluation").exists()


def test_the_recipe_is_rehearsed_and_thrown_away_and_the_same_again(small):
    before = small.left()
    small.evaluate()
    entry = small.found()["rehearsal"]
    assert entry["num_images"] == 1 + entry["facts"]["num_stand_ins"] > 5
    assert set(entry["models"]) == {"teacher", "unlearned"}
    assert small.left() == sorted([*before, "evaluation"])
    assert {path.name for path in (small.folder / "evaluation").iterdir()} == {
        "metrics.json",
        "verdicts.json",
        "summary.json",
        "report.html",
        "pictures",
    }
    assert small.found()["models"]["unlearned"] == read_json(small.folder / "unlearned/summary.json")["model_sha256"]
    first = (small.folder / "evaluation/metrics.json").read_bytes()
    small.evaluate()
    assert (small.folder / "evaluation/metrics.json").read_bytes() == first


@pytest.mark.slow
def test_a_rehearsal_that_is_killed_goes_on_and_leaves_nothing(small):
    small.evaluate()
    before = small.left()
    child = multiprocessing.get_context("spawn").Process(target=small.evaluate)
    child.start()
    deadline = time.monotonic() + 120
    while not list(small.checkpoints.glob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert len(small.left()) > len(before)  # a checkpoint, and the unfinished folder
    small.evaluate()
    assert small.left() == before
    assert small.found()["rehearsal"]["status"] == "measured"


def test_where_no_ranks_are_asked_for_nothing_is_rehearsed(small):
    small.evaluate(audits={"run": []})
    assert "rehearsal" not in small.found()


def test_a_table_in_place_of_the_originals_weights_chooses_and_judges_the_same(small, tmp_path):
    """The teacher is the original here; the table of its own answers must say what it says."""
    small.evaluate()
    by_weights = small.found()["rehearsal"]
    config = small.project.config("evaluate", policies=POLICIES)
    manifest = read_manifest(small.folder / "splits/manifest.parquet")
    sha256, device = digest_folder(small.project.teacher), torch.device("cpu")
    model = load_model(small.project.teacher, "")
    table = make_table(small.project.images, manifest, model, sha256, config, device)
    shutil.copytree(small.project.teacher, tmp_path / "teacher/model")
    facts = OriginalFacts(model=TABLE, model_sha256=sha256, teacher_sha256=sha256)
    facts.write(tmp_path / "teacher/original")
    write_table(table, tmp_path / "teacher/original" / FILE)
    kept, small.parts = small.parts, (*small.parts[:2], tmp_path / "teacher/model")
    try:
        small.evaluate()
    finally:
        small.parts = kept
    by_table = small.found()["rehearsal"]
    assert by_table["facts"]["num_stand_ins"] == by_weights["facts"]["num_stand_ins"]
    found, expected = (of["models"]["unlearned"] for of in (by_table, by_weights))
    assert set(found) == set(expected)
    for name in found:
        assert found[name]["value"] == pytest.approx(expected[name]["value"], abs=1e-4)
