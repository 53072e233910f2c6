"""The shipped policy `as_unseen_audited`: the real gate on real audits of models known to be guilty, or innocent."""

from pathlib import Path

import pytest

from i2i_unlearn.evaluation.audits.run import run_audits
from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.gate import judge, parse_policy, read_policies
from tests.evaluation.audits.guilty import Counter, blocks, inputs_of, known
from tests.evaluation.audits.test_linear_probe import Marked

POLICIES = read_policies(Path(__file__).parents[3] / "mlflow" / "policies")
AUDITED = parse_policy("as_unseen_audited", POLICIES["as_unseen_audited"])
NEW = ("relearning", "recovery", "linear_probe")
EVALUATED = ("guilty", "innocent")
SHORT = {"relearn_steps": 5, "recovery_steps": 5}


def findings(unlearned, *, reference=True, sets=None, **settings):
    """The part of metrics.json that the lines on audits are judged by."""
    models = {"teacher": known().guilty, "unlearned": unlearned}
    if reference:
        models["reference"] = known().innocent
    inputs = inputs_of(models, {**known().sets, **(sets or {})}, run=list(NEW), **settings)
    return {"models": dict.fromkeys(models, ""), "audits": run_audits(inputs, Counter())}


@pytest.fixture(scope="module")
def found():
    """By what was evaluated as the unlearned model."""
    return {name: findings(getattr(known(), name)) for name in EVALUATED}


def lines_on_audits(metrics, policy=AUDITED):
    lines = judge(metrics, policy).lines
    return {line.measure.split()[1]: line for line in lines if line.measure.startswith("audit ")}


def test_it_has_the_lines_of_as_unseen_and_one_for_each_other_audit():
    as_unseen = parse_policy("as_unseen", POLICIES["as_unseen"])
    assert AUDITED.lines[: len(as_unseen.lines)] == as_unseen.lines
    assert {line.measure.audit for line in AUDITED.lines[len(as_unseen.lines) :]} == set(NEW)
    assert {line.measure.audit for line in AUDITED.lines if line.measure.audit} == set(AUDITS)


@pytest.mark.parametrize("audit", ["relearning", "recovery"])
def test_the_reference_itself_passes(found, audit):
    line = lines_on_audits(found["innocent"])[audit]
    assert (line.outcome, line.value, line.low, line.high) == ("pass", 0, 0, 0), line.why


def test_the_original_itself_fails_by_relearning(found):
    assert lines_on_audits(found["guilty"])["relearning"].outcome == "fail"


def test_the_original_itself_never_passes_by_recovery(found):
    line = lines_on_audits(found["guilty"])["recovery"]
    assert line.low > 0  # guiltier than the reference
    assert line.outcome in ("fail", "undecided")  # of 100 images the gap is known to 0.3 dB either way, as is the bound
    (asked,) = (asked for asked in AUDITED.lines if asked.measure.audit == "recovery")
    narrow = AUDITED.model_copy(update={"lines": (asked.model_copy(update={"at_least": -0.1, "at_most": 0.1}),)})
    assert lines_on_audits(found["guilty"], narrow)["recovery"].outcome == "fail"


@pytest.mark.parametrize("name", EVALUATED)
def test_a_probe_that_finds_no_mark_in_the_original_is_blind_and_passes_nobody(found, name):
    """These models remember in no straight line."""
    line = lines_on_audits(found[name])["linear_probe"]
    assert line.outcome == "undecided"
    assert "the audit is blind: the original model's auc is" in line.why


@pytest.mark.parametrize(("mark", "outcome"), [(0.0, "pass"), (3.0, "fail")])
def test_embeddings_that_mark_forget_images_fail_and_those_that_do_not_pass(mark, outcome):
    forget = known().sets["forget"]
    models = {"teacher": Marked(forget, 3.0), "unlearned": Marked(forget, mark), "reference": Marked(forget, 0.0)}
    entries = run_audits(inputs_of(models, known().sets, run=["linear_probe"]), Counter())
    line = lines_on_audits({"models": dict.fromkeys(models, ""), "audits": entries})["linear_probe"]
    assert (entries["linear_probe"]["status"], line.outcome) == ("measured", outcome), line.why


@pytest.mark.parametrize("name", EVALUATED)
def test_an_audit_that_cannot_tell_the_original_from_the_reference_passes_nobody(name):
    """The original stands for the reference too: whatever is like it, nothing is known of what is innocent."""
    models = dict.fromkeys(("teacher", "reference"), known().guilty) | {"unlearned": getattr(known(), name)}
    entries = run_audits(inputs_of(models, known().sets, run=list(NEW), **SHORT), Counter())
    lines = lines_on_audits({"models": dict.fromkeys(models, ""), "audits": entries})
    for audit in NEW:
        assert entries[audit]["status"] == "blind"
        assert lines[audit].outcome != "pass"
        if name == "guilty":  # as like the reference as can be
            assert lines[audit].outcome == "undecided"
            assert "the audit is blind: " in lines[audit].why


def test_too_few_images_leave_the_lines_undecided_with_both_numbers():
    lines = lines_on_audits(findings(known().innocent, sets={"forget": blocks(20, 1)}))
    for audit, least in (("relearning", 60), ("recovery", 30), ("linear_probe", 50)):
        assert lines[audit].outcome == "undecided"
        assert f"{least} images of forget are needed, there are 20" in lines[audit].why


def test_without_the_reference_classes_stay_undecided():
    metrics = {**findings(known().guilty, reference=False, **SHORT), "selected_by": "label"}
    lines = lines_on_audits(metrics)
    assert [lines[audit].outcome for audit in NEW] == ["undecided"] * 3


def test_without_the_reference_single_images_are_judged_by_held_out_ones_but_for_relearning():
    metrics = {**findings(known().guilty, reference=False, **SHORT), "selected_by": "sample_id", "holdout_alike": True}
    lines = lines_on_audits(metrics)
    for audit in ("recovery", "linear_probe"):
        assert lines[audit].measure.endswith("unlearned minus innocent value")
        assert lines[audit].outcome != "pass"
    assert lines["relearning"].outcome == "undecided"
    assert "says nothing without a reference" in lines["relearning"].why
