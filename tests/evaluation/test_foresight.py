"""What a policy can decide with so many images; every number by hand."""

from dataclasses import replace

import pytest

from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.findings import FEWEST_OF_CLASS
from i2i_unlearn.evaluation.foresight import (
    Numbers,
    as_facts,
    auc_half_width,
    foresee,
    psnr_half_width,
    rank_half_width,
    shift_half_width,
)
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.evaluation.policy import parse_policy
from tests.conftest import ROOT

CONTENT = read_policies(ROOT / "mlflow/policies")["as_unseen"]
POLICY = parse_policy("as_unseen", CONTENT)
RANKS = [line.name for line in POLICY.lines if line.rule in ("memory", "shape") and not line.measure.earlier]
EARLIER = [line.name for line in POLICY.lines if line.measure.earlier]
RELATIVE = [line.name for line in POLICY.lines if line.rule == "relative"]


def numbers(forget, *, retain=1000, never_seen=400, references=0, **more):
    images = {
        "forget": {"cat": forget},
        "forget_holdout": {},
        "retain": {"cat": retain // 2, "dog": retain - retain // 2},
        "retain_holdout": {"cat": never_seen // 2, "dog": never_seen - never_seen // 2},
    }
    return Numbers(**{"images": images, "references": references, "max_images": 1000, "max_audited": 300} | more)


def foreseen(*args, policy=POLICY, **more):
    return {line.line: line for line in foresee(policy, numbers(*args, **more)).lines}


def test_half_widths_by_hand():
    # 40 images among so many never-seen ones that these do not matter: 1.96 * .2887 / sqrt(40) = .0895
    assert rank_half_width(40, 10**9) == pytest.approx(0.0895, abs=1e-4)
    assert rank_half_width(40, 40) == pytest.approx(0.0895 * 2**0.5, abs=1e-4)
    assert [shift_half_width(*of) for of in ((40, 250), (10, 62.5), (160, 1000))] == pytest.approx([0.02, 0.04, 0.01])
    # Hanley and McNeil at .5: 1.96 * sqrt(101 / (12 * 50 * 50)) = .1137
    assert auc_half_width(50, 50) == pytest.approx(0.1137, abs=1e-4)
    assert psnr_half_width(144) == pytest.approx(1.96 * 0.1)  # 1.2 dB / 12
    assert psnr_half_width(288, 288) == pytest.approx(1.96 * 0.1)


def test_a_rehearsal_lets_a_single_image_be_decided_and_is_proposed_where_it_would_help():
    (line, *_) = foresee(POLICY, numbers(1)).open_lines
    assert "evaluate.rehearsal: true" in line.lacks
    foresight = foresee(POLICY, numbers(1, rehearsal=True))
    assert foresight.outcome() == "policy as_unseen can be decided by rehearsal"
    rehearsed = [line for line in foresight.lines if line.by_rehearsal]
    assert [line.line for line in rehearsed] == RANKS
    assert rehearsed[0].smallest == pytest.approx(shift_half_width(40, 200))
    # one image to keep besides the one forgotten: nothing stands in
    assert not foresee(POLICY, numbers(1, retain=1, rehearsal=True)).lines[0].can_decide
    assert not any(line.by_rehearsal for line in foresee(POLICY, numbers(40, rehearsal=True)).lines)


def test_lines_on_earlier_requests_count_where_there_are_any_with_images_enough():
    found = foreseen(40)
    assert {(found[name].can_decide, found[name].counts) for name in EARLIER} == {(False, False)}
    assert "no request was promoted" in found[EARLIER[0]].lacks
    images = numbers(40).images
    few, many = (foreseen(40, images={**images, "erased": {"cat": count}}) for count in (2, 40))
    assert (few[EARLIER[0]].counts, few[EARLIER[0]].lacks) == (
        False,
        "5 images of earlier requests needed, there are 2",
    )
    assert many[EARLIER[0]].counts
    assert many[EARLIER[0]].smallest == many[RANKS[0]].smallest


@pytest.mark.parametrize("forget", [1, 2, 4])
def test_below_five_images_ranks_decide_nothing_and_the_policy_stays_undecided(forget):
    least = AUDITS["rank_shift"].load().min_images
    foresight = foresee(POLICY, numbers(forget))
    assert [line.line for line in foresight.open_lines] == RANKS
    assert all(f"{least} images of forget needed" in line.lacks for line in foresight.open_lines)
    assert all(line.smallest is None for line in foresight.open_lines)
    assert "undecided" in foresight.outcome()
    assert "--accept-undecided" in foresight.outcome()


def test_from_five_images_on_the_policy_can_be_decided_and_more_images_see_smaller_effects():
    five, forty, many = (foreseen(count) for count in (5, 40, 1000))
    assert foresee(POLICY, numbers(5)).outcome() == "policy as_unseen can be decided"
    assert five["no memory left"].smallest == pytest.approx(shift_half_width(5, 200))
    assert forty["no memory left"].smallest == pytest.approx(shift_half_width(40, 200))
    assert forty["no trace in the contrast"].smallest == 0.05  # no less fails: fails_beyond of the policy
    assert many["no memory left"].smallest < forty["no memory left"].smallest


def test_thresholds_are_those_of_the_policy():
    lines = [{**line, "fails_beyond": 0.07} if line.get("rule") == "shape" else line for line in CONTENT["lines"]]
    other = parse_policy("as_unseen", {**CONTENT, "lines": lines})
    assert foreseen(40, policy=other)["no trace at the edge"].smallest == 0.07


def test_psnr_lines_rest_on_the_images_that_are_scored():
    line = foreseen(40, retain=4000, never_seen=400)
    assert line["kept images"].smallest == pytest.approx(psnr_half_width(1000))
    assert line["kept images no more remembered"].smallest == pytest.approx(psnr_half_width(1000, 400))
    assert line["worst class"].smallest == pytest.approx(psnr_half_width(500))
    assert line["worst class"].unit == "dB"


def test_a_class_too_small_is_not_judged_and_does_not_count():
    line = foreseen(40, retain=2 * FEWEST_OF_CLASS - 2)["worst class"]
    assert (line.can_decide, line.counts) == (False, False)
    assert str(FEWEST_OF_CLASS) in line.lacks
    assert foreseen(40, retain=2 * FEWEST_OF_CLASS)["worst class"].can_decide


def test_no_never_seen_image_is_told_and_nothing_fails():
    lines = foreseen(40, never_seen=0)
    assert "retain_holdout needed, there are 0" in lines["images never seen"].lacks
    assert not lines["no memory left"].can_decide
    assert not lines["kept images no more remembered"].can_decide
    assert foresee(POLICY, Numbers(images={}, references=0, max_images=9, max_audited=9)).open_lines


def test_what_references_would_add():
    none, one, three = (foresee(POLICY, numbers(40, references=count)).by_references for count in (0, 1, 3))
    assert [*none] == [1, 3]
    assert [*one] == [3]
    assert three == {}
    assert none[1][0] == "decides membership"
    assert "in place of 0.5" in none[1][1]
    assert one[3] == (f"decides {', '.join(RELATIVE)}",)
    needed = foreseen(40, references=1)[RELATIVE[0]]
    assert (needed.can_decide, needed.counts) == (False, False)
    assert "2 references needed, there is 1" in needed.lacks


def test_audits_with_other_measures_say_what_they_lack():
    lines = [
        {
            "name": "membership",
            "measure": {"audit": "membership", "model": "unlearned", "metric": "auc_loss"},
            "at_most": 0.55,
            "if_above": "it remembers",
            "why": "because",
        },
        {
            "name": "perturbation",
            "measure": {"audit": "perturbation", "model": "unlearned", "metric": "nearer_than_reference"},
            "at_most": 0.1,
            "if_above": "it remembers",
            "why": "because",
        },
    ]
    policy = parse_policy("as_unseen", {**CONTENT, "lines": lines})
    least = AUDITS["membership"].load().min_images
    few, enough = (foreseen(count, policy=policy) for count in (least - 1, least))
    assert f"{least} images of forget needed" in few["membership"].lacks
    assert enough["membership"].smallest == pytest.approx(auc_half_width(least, 300))  # as many as an audit lets in
    assert "1 reference needed, there are 0" in enough["perturbation"].lacks
    assert foreseen(50, policy=policy, references=1)["perturbation"].smallest is None  # nothing known of its spread


def test_ranks_are_taken_among_the_class_where_it_has_enough_never_seen_images():
    assert numbers(40, never_seen=400).never_seen() == 200
    assert numbers(40, never_seen=98).never_seen() == 98  # 49 of the class: among all


def test_facts_hold_every_line_and_what_references_add():
    facts = as_facts(foresee(POLICY, replace(numbers(1), references=1)))
    assert [line["line"] for line in facts["lines"]] == [line.name for line in POLICY.lines]
    assert facts["policy"] == "as_unseen"
    assert [*facts["references_would_add"]] == ["3"]
