import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.evaluation.gate import explain_difference, judge, parse_policy, read_policies
from i2i_unlearn.evaluation.policy import schema_text
from i2i_unlearn.support.errors import UserError

POLICIES = Path(__file__).parents[2] / "mlflow" / "policies"


AUC = {"audit": "membership", "model": "unlearned", "minus": "reference", "metric": "auc_loss"}
PSNR = {"model": "unlearned", "minus": "teacher", "set": "forget", "metric": "hole_psnr_db"}


def line(name="a line", at_least=None, at_most=None, measure=PSNR, **more):
    content = {"name": name, "why": "because", "measure": measure, **more}
    if at_least is not None:
        content |= {"at_least": at_least, "if_below": "it is too low"}
    if at_most is not None:
        content |= {"at_most": at_most, "if_above": "it is too high"}
    return content


def policy(*lines, name="p"):
    said = {"asks": "it is tested", "if_passed": "It passes."}
    return parse_policy(name, {"schema_version": 1, "name": name, **said, "lines": list(lines)})


def score(value, low, high):
    return {"value": value, "low": low, "high": high, "num_images": 9}


def metrics(value, low, high):
    return {"differences": {"unlearned-teacher": {"forget": {"hole_psnr_db": score(value, low, high)}}}}


def outcome(found, *lines):
    return judge(found, policy(*lines)).outcome


LOW = (-1.5, -1.6, -1.4)
UPPER, BOTH = {"at_most": -0.8}, {"at_least": -0.3, "at_most": 0.3}


@pytest.mark.parametrize(
    ("bounds", "interval", "expected"),
    [
        (UPPER, LOW, "pass"),  # wholly below -0.8
        (UPPER, (-0.5, -0.6, -0.4), "fail"),  # wholly above
        (UPPER, (-0.9, -1.0, -0.7), "undecided"),  # straddles
        (UPPER, (-0.8, -0.9, -0.8), "pass"),  # the bound itself is good
        (UPPER, (-0.9, None, None), "pass"),  # no interval: the value decides
        (UPPER, (-0.7, None, None), "fail"),
        (BOTH, (0.0, -0.2, 0.2), "pass"),
        (BOTH, (0.5, 0.4, 0.6), "fail"),
        (BOTH, (-0.5, -0.6, -0.4), "fail"),
        (BOTH, (0.25, 0.1, 0.4), "undecided"),
        (BOTH, (0.0, -1.0, 1.0), "undecided"),  # wider than the bounds: nothing is known
    ],
)
def test_bounds_by_hand(bounds, interval, expected):
    assert outcome(metrics(*interval), line(**bounds)) == expected


def test_any_failed_line_fails_else_any_undecided_line_leaves_it_undecided():
    found = metrics(1.0, 0.9, 1.1)
    passes, fails, unknown = line("p", at_least=0), line("f", at_least=2), line("u", at_least=1)
    assert outcome(found, passes) == "pass"
    assert outcome(found, passes, unknown) == "undecided"
    assert outcome(found, unknown, fails, passes) == "fail"


def test_what_was_not_measured_is_not_applicable_and_says_so():
    verdict = judge({"differences": {}}, policy(line(at_most=-0.8)))
    assert verdict.outcome == "undecided"
    assert (verdict.lines[0].outcome, verdict.lines[0].value) == ("n/a", None)
    assert "not measured" in verdict.lines[0].why


def test_a_line_that_does_not_decide_can_fail_a_policy_but_not_leave_it_undecided():
    found = metrics(1.0, 0.9, 1.1)
    passes, unknown = line("p", at_least=0), line("u", at_least=1, decides=False)
    missing = line("m", at_least=0, measure={**PSNR, "minus": "reference"}, decides=False)
    assert outcome(found, passes, unknown, missing) == "pass"
    assert outcome(found, passes, line("f", at_least=2, decides=False)) == "fail"
    assert outcome(found, missing) == "undecided"  # no line at all was judged
    assert judge(found, policy(missing)).lines[0].why.endswith("a reference is needed, there is none (reference.count)")


def test_the_original_is_the_teacher_where_no_other_model_is():
    against = {**PSNR, "minus": "original"}
    found = metrics(1.0, 0.9, 1.1)
    assert judge(found, policy(line(at_least=0, measure=against))).lines[0].value == 1.0
    other = {"unlearned-original": {"forget": {"hole_psnr_db": score(-3.0, -3.1, -2.9)}}}
    found = {"models": {"original": "", "teacher": ""}, "differences": {**found["differences"], **other}}
    assert judge(found, policy(line(at_least=0, measure=against))).lines[0].value == -3.0


def test_a_line_against_an_unknown_original_says_against_whom_it_was_judged():
    found = {**metrics(1.0, 0.9, 1.1), "original": {"model": "unknown", "source": "", "why": "version 1 is gone"}}
    judged = judge(found, policy(line(at_least=0), line("o", at_least=0, measure={**PSNR, "minus": "original"}))).lines
    assert [one.outcome for one in judged] == ["pass", "pass"]
    assert "original" not in judged[0].why
    assert judged[1].why.endswith("previous champion, since the original is unknown: version 1 is gone")


def test_the_gap_the_worst_class_and_the_relative_test_are_found_in_their_tables():
    content = {
        "models": {"teacher": ""},
        "gaps": {"unlearned-teacher": {"retain-retain_holdout": {"hole_psnr_db": score(0.3, 0.25, 0.35)}}},
        "classes": {"unlearned-teacher": {"retain": {"a": score(-0.1, -0.6, 0.4), "b": score(-0.2, -0.3, -0.1)}}},
        "relative": {"forget": {"outputs_db": score(1.0, 0.9, 1.1)}},
    }
    psnr = {**PSNR, "minus": "original", "set": "retain"}
    gap = line("gap", at_most=0.2, measure={**psnr, "minus_set": "retain_holdout"})
    worst = line("worst", at_least=-0.5, measure={**psnr, "worst_class": True})
    relative = {"model": "unlearned", "set": "forget", "relative": True, "metric": "outputs_db"}
    farther = line("farther", at_most=2, measure=relative, rule="relative")
    judged = judge(content, policy(gap, worst, farther)).lines
    # the lowest value is class b's, the lowest end class a's: that class may lose more than 0.5 dB
    assert [(one.outcome, one.value, one.low) for one in judged] == [
        ("fail", 0.3, 0.25),
        ("undecided", -0.2, -0.6),
        ("fail", 1.0, 0.9),  # above 0 for certain, whatever the margin
    ]
    judged = judge({"models": {"reference": ""}}, policy(gap, worst, farther)).lines
    assert [(one.outcome, one.decides) for one in judged] == [("n/a", True), ("n/a", False), ("n/a", True)]
    assert "2 references are needed, there are 1" in judged[2].why


def test_the_reason_tells_the_numbers_the_bound_and_what_it_means():
    (found,) = judge(metrics(-0.5, -0.6, -0.4), policy(line(at_most=-0.8))).lines
    assert found.why == (
        "forget hole_psnr_db, unlearned minus teacher: -0.5 (95 % interval -0.6 to -0.4), wanted at most -0.8; "
        "it is too high"
    )
    assert (found.bound, found.threshold_why, found.otherwise) == ("at most -0.8", "because", "it is too high")


def test_of_two_bounds_the_broken_one_is_explained():
    both = policy(line(at_least=-0.3, at_most=0.3))
    assert judge(metrics(-1.0, -1.1, -0.9), both).lines[0].otherwise == "it is too low"
    assert judge(metrics(1.0, 0.9, 1.1), both).lines[0].otherwise == "it is too high"


def test_a_model_alone_a_difference_and_a_ratio_are_found_in_their_tables():
    content = {
        "scores": {"unlearned": {"retain": {"output_spread": score(1.0, 1.0, 1.0)}}},
        "differences": {"unlearned-reference": {"retain": {"output_spread": score(2.0, 2.0, 2.0)}}},
        "ratios": {"unlearned/reference": {"retain": {"output_spread": score(3.0, 3.0, 3.0)}}},
    }
    base = {"model": "unlearned", "set": "retain", "metric": "output_spread"}
    measures = [base, {**base, "minus": "reference"}, {**base, "divided_by": "reference"}]
    verdict = judge(content, policy(*(line(at_least=0, measure=measure) for measure in measures)))
    assert [line.value for line in verdict.lines] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"at_least": 2, "if_below": "x", "at_most": 1, "if_above": "y"}, "at_least 2 is above at_most 1"),
        ({"at_most": 1}, "at_most and if_above come together"),
        ({"at_most": float("nan"), "if_above": "x"}, "finite number"),
    ],
)
def test_a_wrong_line_is_refused_by_name_and_key(change, words):
    with pytest.raises(UserError, match=f"policy p: .*{words}"):
        policy({**line(), **change})


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ({**PSNR, "model": "teacher", "minus": "unlearned"}, "teacher against unlearned is not measured"),
        ({**PSNR, "divided_by": "reference"}, "give minus or divided_by, not both"),
        ({**PSNR, "minus": None, "divided_by": "reference"}, "no ratio is taken of hole_psnr_db"),
        ({**AUC, "audit": "membrship"}, "audit 'membrship' is not known; choose one of: rank_shift, membership"),
        ({**AUC, "metric": "auc"}, "metric 'auc' is not one of audit membership; choose one of: auc_loss, auc_simila"),
        ({**AUC, "minus": None, "divided_by": "reference"}, "no ratio is taken of audits"),
        ({**AUC, "set": "forget"}, "give either set, for a score, or audit"),
        ({**AUC, "audit": None}, "give either set, for a score, or audit"),
        ({**PSNR, "minus_set": "retain_holdout"}, "minus_set is measured of retain minus retain_holdout alone"),
        ({**PSNR, "worst_class": True, "metric": "own_loss"}, "worst_class go with minus, and .* hole_psnr_db"),
        ({**PSNR, "relative": True}, "relative goes with set and one of the metrics hole_psnr_db"),
    ],
)
def test_a_measure_that_is_never_made_is_refused(measure, words):
    with pytest.raises(UserError, match=words):
        policy(line(at_most=1, measure=measure))


def test_all_faults_of_a_policy_come_at_once():
    with pytest.raises(UserError) as caught:
        parse_policy("p", {"schema_version": 2, "name": "p", "lines": [], "limits": []})
    for words in ("schema_version", "asks: is missing", "if_passed: is missing", "lines", "limits: is not a known key"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_sentence_names_the_other_policys_failed_lines_with_numbers():
    found = metrics(*LOW)
    mine = judge(found, policy(line("forgetting", at_most=-0.8), name="forgotten"))
    other = judge(found, policy(line("as retrained", at_least=-0.3), line("fine", at_most=0), name="as_unseen"))
    assert explain_difference(mine, [other]) == (
        "Policy forgotten says pass, but as_unseen says fail: "
        "as retrained (unlearned minus teacher) is -1.5 dB where at least -0.3 is wanted, so it is too low."
    )
    assert explain_difference(other, [mine]) == (
        "Policy as_unseen says fail "
        "(as retrained (unlearned minus teacher) is -1.5 dB where at least -0.3 is wanted, so it is too low), "
        "but forgotten says pass, as all of its own lines hold."
    )


def test_the_sentence_stays_short_where_many_lines_failed():
    found = metrics(*LOW)
    mine = judge(found, policy(line(at_most=0), name="forgotten"))
    other = judge(found, policy(*(line(f"line {i}", at_least=0) for i in range(5)), name="hard"))
    sentence = explain_difference(mine, [other])
    assert "line 2" in sentence
    assert "line 3" not in sentence
    assert sentence.endswith("; and 2 more.")


def test_a_line_that_several_policies_hold_is_explained_once():
    found = metrics(*LOW)
    mine = judge(found, policy(line(at_most=0), name="forgotten"))
    less = judge(found, policy(line("shared", at_least=0), name="less"))
    more = judge(found, policy(line("shared", at_least=0), line("own", at_least=1), name="more"))
    assert explain_difference(mine, [less, more]) == (
        "Policy forgotten says pass, but less says fail: shared (unlearned minus teacher) is -1.5 dB where at least 0 "
        "is wanted, so it is too low; more says fail: the same; own (unlearned minus teacher) is -1.5 dB where at "
        "least 1 is wanted, so it is too low."
    )
    assert explain_difference(mine, [less, less]).endswith("; less says fail: the same.")


def test_a_line_that_was_not_explained_is_not_the_same():
    found = metrics(*LOW)
    mine = judge(found, policy(line(at_most=0), name="forgotten"))
    less = judge(found, policy(line("failed", at_least=0), line("open", at_least=-1.5), name="less"))
    more = judge(found, policy(line("open", at_least=-1.5), name="more"))
    assert (less.outcome, more.outcome) == ("fail", "undecided")
    told = explain_difference(mine, [less, more])
    assert "open" not in told.split("; more says")[0]
    assert "more says undecided: open (unlearned minus teacher) is -1.5 dB" in told


def test_no_sentence_where_policies_agree():
    same = judge(metrics(*LOW), policy(line(at_most=-0.8)))
    assert explain_difference(same, [same]) == ""


FORGOTTEN = parse_policy("forgotten", read_policies(POLICIES)["forgotten"])


def test_the_committed_policies_are_valid_and_give_a_reason_for_every_number():
    contents = read_policies(POLICIES)
    assert set(contents) == {"forgotten", "as_unseen"}
    for name, content in contents.items():
        assert all(len(line.why) > 20 for line in parse_policy(name, content).lines)


def test_policy_forgotten_needs_no_reference():
    for of in (line.measure for line in FORGOTTEN.lines):
        assert "reference" not in (of.model, of.minus, of.divided_by)
        assert not of.metric.startswith("reference")


def test_policy_forgotten_refuses_a_model_that_is_the_teacher():
    metrics = ("hole_psnr_db", "feature_cosine_efficientnet_lite0")
    same = {s: dict.fromkeys(metrics, score(0.0, 0.0, 0.0)) for s in ("forget", "retain", "retain_holdout")}
    verdict = judge({"differences": {"unlearned-teacher": same}}, FORGOTTEN)
    assert verdict.outcome == "fail"
    assert [line.name for line in verdict.lines if line.outcome != "pass"] == ["forgetting"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"lines: [", "not valid YAML"), (b"name: \xe9", "not valid YAML"), (b"- 1\n", "must hold keys, found list")],
)
def test_a_folder_without_policies_or_with_a_broken_one_is_refused(tmp_path, content, words):
    with pytest.raises(UserError, match="no policy"):
        read_policies(tmp_path)
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_policies(tmp_path)


def test_reading_a_policy_twice_gives_the_same(tmp_path):
    content = policy(line(at_most=1)).model_dump(mode="json", exclude_none=True)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    assert parse_policy("p", read_policies(tmp_path)["p"]) == policy(line(at_most=1))


def test_the_gate_imports_no_torch():
    code = "import sys, i2i_unlearn.evaluation.gate; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# --- audits ---


def audited(
    value,
    low,
    high,
    status="measured",
    why="",
    teacher=(0.9, 0.85, 0.95),
    reference_minus_teacher=(-0.4, -0.5, -0.3),
    **more,
):
    """The content of metrics.json with one audit; the unlearned model's AUC is 1/2 above the difference."""

    alone = score(value + 0.5, low + 0.5, high + 0.5)
    audit = {
        "measure": "auc_loss",
        "innocent": 0.5,
        "status": status,
        "why": why,
        "models": {
            "unlearned": {"auc_loss": alone, "auc_similarity": alone},
            "teacher": {"auc_loss": score(*teacher)},
        },
        "differences": {
            "unlearned-reference": {"auc_loss": score(value, low, high)},
            "reference-teacher": {"auc_loss": score(*reference_minus_teacher)},
        },
    }
    return {"models": {"teacher": "", "unlearned": "", "reference": ""}, "audits": {"membership": audit}, **more}


BOUNDED = policy(line(measure=AUC, at_least=-0.05, at_most=0.05))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.0, -0.04, 0.04), "pass"), ((0.2, 0.1, 0.3), "fail"), ((0.0, -0.1, 0.1), "undecided")],
)
def test_a_line_may_bound_an_audit(interval, expected):
    verdict = judge(audited(*interval), BOUNDED)
    assert verdict.outcome == expected
    assert verdict.lines[0].measure == "audit membership auc_loss, unlearned minus reference"
    assert (verdict.lines[0].value, verdict.lines[0].low, verdict.lines[0].high) == interval


def test_the_measure_of_a_model_alone_is_found_too():
    alone = {"audit": "membership", "model": "unlearned", "metric": "auc_similarity"}
    assert judge(audited(0.1, 0.0, 0.2), policy(line(measure=alone, at_most=0.8))).lines[0].value == 0.6


def test_a_blind_audit_passes_nobody():
    (judged,) = judge(audited(0.0, -0.01, 0.01, status="blind", why="it sees nothing"), BOUNDED).lines
    assert judged.outcome == "undecided"
    assert "the audit is blind: it sees nothing; found was 0 (95 % interval" in judged.why


def test_an_audit_that_lacks_images_is_not_applicable_and_says_what_it_lacks():
    audit = {"status": "n/a", "why": "50 images of forget are needed, there are 3", "models": {}, "differences": {}}
    (judged,) = judge({"audits": {"membership": audit}}, BOUNDED).lines
    assert judged.outcome == "n/a"
    assert judged.why.endswith("50 images of forget are needed, there are 3")


def test_what_a_blind_audit_finds_all_the_same_fails_the_line():
    found = audited(0.9, 0.89, 0.91, status="blind", why="it sees nothing in the original")
    assert judge(found, BOUNDED).outcome == "fail"


def test_an_audit_that_was_not_made_is_not_applicable_and_says_how_to_make_it():
    (judged,) = judge({"audits": {}}, policy(line(measure=AUC, at_most=0.05))).lines
    assert (judged.outcome, judged.value) == ("n/a", None)
    assert "the audit was not made (a sweep makes none); add membership to evaluate.audits.run" in judged.why


def test_a_bound_that_the_original_itself_meets_passes_nobody():
    """Its AUC is .54, .03 above the reference's .51: both within .05 of what is innocent."""
    found = audited(0.01, -0.03, 0.04, teacher=(0.54, 0.51, 0.545), reference_minus_teacher=(-0.03, -0.04, -0.02))
    (judged,) = judge(found, BOUNDED).lines
    assert judged.outcome == "undecided"
    assert "the original model itself would pass with 0.03 (95 % interval 0.02 to 0.04)" in judged.why


# --- files ---


GOOD = """# a comment
schema_version: 1
name: p
asks: it is tested
if_passed: It passes.
lines:
  - name: forgetting
    measure: {model: unlearned, minus: teacher, set: forget, metric: hole_psnr_db}
    at_most: -1.0
    if_above: too high
    why: because
  - name: retention
    measure:
      model: unlearned
      set: retain
      metric: hole_psnr_db
    at_least: 1
    if_below: too low
    why: because
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("at_most: -1.0", "at_most: much", r"p.yaml:9: line 1 \(forgetting\).at_most: Input should be a valid number"),
        ("    if_above: too", "    if_abvoe: too", r"p.yaml:10: line 1 \(forgetting\).if_abvoe: is not a known key"),
        ("set: retain", "set: kept", r"p.yaml:15: line 2 \(retention\).measure.set: Input should be"),
        (
            "metric: hole_psnr_db\n    at_least",
            "metric: psnr\n    at_least",
            r"p.yaml:13: .*metric 'psnr' is not known",
        ),
        ("    at_least: 1\n", "", r"p.yaml:12: line 2 \(retention\): give at_least, at_most, or both"),
        ("asks: it is tested\n", "", r"p.yaml:1: asks: is missing"),
        ("name: p\n", "name: q\n", r"p.yaml:3: its key `name` says 'q'"),
        ("name: p\n", "name: [p\n", r"p.yaml: not valid YAML .*line 4"),
    ],
)
def test_a_wrong_policy_file_is_refused_with_the_line(tmp_path, old, new, words):
    assert old in GOOD
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    read_policies(tmp_path)
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError, match=words) as caught:
        read_policies(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_published_schema_is_that_of_the_program():
    found = (POLICIES.parents[1] / "docs/policy.schema.json").read_text()
    command = "python -c 'from i2i_unlearn.evaluation.policy import schema_text as s; print(s(), end=str())'"
    assert found == schema_text(), f"write it again: {command} > docs/policy.schema.json"
