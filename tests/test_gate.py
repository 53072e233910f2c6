import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i_unlearn.errors import UserError
from i2i_unlearn.gate import explain_difference, judge, parse_policy, read_policies

POLICIES = Path(__file__).parents[1] / "mlflow" / "policies"


def line(name="a line", at_least=None, at_most=None, measure=None, **more):
    content = {"name": name, "why": "because", **more}
    content["measure"] = measure or {
        "model": "unlearned",
        "minus": "teacher",
        "set": "forget",
        "metric": "hole_psnr_db",
    }
    if at_least is not None:
        content |= {"at_least": at_least, "if_below": "it is too low"}
    if at_most is not None:
        content |= {"at_most": at_most, "if_above": "it is too high"}
    return content


def policy(*lines, name="p"):
    return parse_policy(name, {"schema_version": 1, "name": name, "purpose": "to test", "lines": list(lines)})


def metrics(value, low, high):
    found = {"value": value, "low": low, "high": high, "num_images": 9}
    return {"differences": {"unlearned-teacher": {"forget": {"hole_psnr_db": found}}}}


def outcome(found, *lines):
    return judge(found, policy(*lines)).outcome


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-1.5, -1.6, -1.4), "pass"),  # wholly below -0.8
        ((-0.5, -0.6, -0.4), "fail"),  # wholly above
        ((-0.9, -1.0, -0.7), "undecided"),  # straddles
        ((-0.8, -0.9, -0.8), "pass"),  # the bound itself is good
        ((-0.9, None, None), "pass"),  # no interval: the value decides
        ((-0.7, None, None), "fail"),
    ],
)
def test_an_upper_bound_by_hand(interval, expected):
    assert outcome(metrics(*interval), line(at_most=-0.8)) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.0, -0.2, 0.2), "pass"),
        ((0.5, 0.4, 0.6), "fail"),
        ((-0.5, -0.6, -0.4), "fail"),
        ((0.25, 0.1, 0.4), "undecided"),
        ((0.0, -1.0, 1.0), "undecided"),  # wider than the bounds: nothing is known
    ],
)
def test_two_bounds_by_hand(interval, expected):
    assert outcome(metrics(*interval), line(at_least=-0.3, at_most=0.3)) == expected


def test_any_failed_line_fails_else_any_undecided_line_leaves_it_undecided():
    found = metrics(1.0, 0.9, 1.1)
    passes, fails, unknown = line("p", at_least=0), line("f", at_least=2), line("u", at_least=1)
    assert outcome(found, passes) == "pass"
    assert outcome(found, passes, unknown) == "undecided"
    assert outcome(found, unknown, fails, passes) == "fail"


def test_what_was_not_measured_is_undecided_and_says_so():
    verdict = judge({"differences": {}}, policy(line(at_most=-0.8)))
    assert verdict.outcome == "undecided"
    assert verdict.lines[0].value is None
    assert "not measured" in verdict.lines[0].why


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
    def found(value):
        return {"value": value, "low": value, "high": value, "num_images": 4}

    content = {
        "scores": {"unlearned": {"retain": {"output_spread": found(1.0)}}},
        "differences": {"unlearned-reference": {"retain": {"output_spread": found(2.0)}}},
        "ratios": {"unlearned/reference": {"retain": {"output_spread": found(3.0)}}},
    }
    base = {"model": "unlearned", "set": "retain", "metric": "output_spread"}
    measures = [base, {**base, "minus": "reference"}, {**base, "divided_by": "reference"}]
    verdict = judge(content, policy(*(line(at_least=0, measure=measure) for measure in measures)))
    assert [line.value for line in verdict.lines] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"at_least": -1, "at_mots": 3, "if_below": "x"}, r"line 1 \(a line\).at_mots: is not a known key"),
        ({}, "give at_least, at_most, or both"),
        ({"at_least": 2, "if_below": "x", "at_most": 1, "if_above": "y"}, "at_least 2 is above at_most 1"),
        ({"at_most": 1}, "at_most and if_above come together"),
        ({"at_most": "much", "if_above": "x"}, r"line 1 \(a line\).at_most: Input should be a valid number"),
        ({"at_most": float("nan"), "if_above": "x"}, "finite number"),
    ],
)
def test_a_wrong_line_is_refused_by_name_and_key(change, words):
    with pytest.raises(UserError, match=f"policy p: .*{words}"):
        policy({**line(), **change})


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ({"metric": "hole_psnr"}, "metric 'hole_psnr' is not known; choose one of: hole_psnr_db"),
        ({"set": "forgotten"}, r"line 1 \(a line\).measure.set"),
        ({"model": "teacher", "minus": "unlearned"}, "teacher against unlearned is not measured"),
        ({"minus": "teacher", "divided_by": "reference"}, "give minus or divided_by, not both"),
        ({"divided_by": "reference"}, "no ratio is taken of hole_psnr_db"),
    ],
)
def test_a_measure_that_is_never_made_is_refused(measure, words):
    base = {"model": "unlearned", "set": "forget", "metric": "hole_psnr_db"}
    with pytest.raises(UserError, match=words):
        policy(line(at_most=1, measure={**base, **measure}))


def test_all_faults_of_a_policy_come_at_once():
    with pytest.raises(UserError) as caught:
        parse_policy("p", {"schema_version": 2, "name": "p", "lines": [], "limits": []})
    for words in ("schema_version", "purpose: is missing", "lines", "limits: is not a known key"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_goes_by_its_own_name():
    with pytest.raises(UserError, match="its key `name` says 'p'"):
        parse_policy("q", policy(line(at_most=1)).model_dump())


def test_the_sentence_names_the_other_policys_failed_lines_with_numbers():
    found = metrics(-1.5, -1.6, -1.4)
    mine = judge(found, policy(line("forgetting", at_most=-0.8), name="noise"))
    other = judge(found, policy(line("as retrained", at_least=-0.3), line("fine", at_most=0), name="like_unseen"))
    assert explain_difference(mine, [other]) == (
        "Policy noise says pass, but like_unseen says fail: "
        "as retrained (unlearned minus teacher) is -1.5 dB where at least -0.3 is wanted, so it is too low."
    )
    assert explain_difference(other, [mine]) == (
        "Policy like_unseen says fail "
        "(as retrained (unlearned minus teacher) is -1.5 dB where at least -0.3 is wanted, so it is too low), "
        "but noise says pass, as all of its own lines hold."
    )


def test_the_sentence_stays_short_where_many_lines_failed():
    found = metrics(-1.5, -1.6, -1.4)
    mine = judge(found, policy(line(at_most=0), name="noise"))
    other = judge(found, policy(*(line(f"line {i}", at_least=0) for i in range(5)), name="hard"))
    sentence = explain_difference(mine, [other])
    assert "line 2" in sentence
    assert "line 3" not in sentence
    assert sentence.endswith("; and 2 more.")


def test_no_sentence_where_policies_agree():
    same = judge(metrics(-1.5, -1.6, -1.4), policy(line(at_most=-0.8)))
    assert explain_difference(same, [same]) == ""


def test_the_committed_policies_are_valid_and_give_a_reason_for_every_number():
    contents = read_policies(POLICIES)
    assert set(contents) == {"noise", "like_unseen"}
    for name, content in contents.items():
        assert all(len(line.why) > 20 for line in parse_policy(name, content).lines)


def test_policy_noise_needs_no_reference():
    lines = parse_policy("noise", read_policies(POLICIES)["noise"]).lines
    assert all("reference" not in (line.measure.model, line.measure.minus, line.measure.divided_by) for line in lines)
    assert not any(line.measure.metric.startswith("reference") for line in lines)


def test_policy_noise_refuses_a_model_that_is_the_teacher():
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0, "num_images": 9}
    same = {
        s: dict.fromkeys(("hole_psnr_db", "feature_cosine"), nothing) for s in ("forget", "retain", "retain_holdout")
    }
    verdict = judge(
        {"differences": {"unlearned-teacher": same}}, parse_policy("noise", read_policies(POLICIES)["noise"])
    )
    assert verdict.outcome == "fail"
    assert [line.name for line in verdict.lines if line.outcome != "pass"] == ["forgetting"]


def test_a_folder_without_policies_or_with_a_broken_one_is_refused(tmp_path):
    with pytest.raises(UserError, match="no policy"):
        read_policies(tmp_path)
    (tmp_path / "p.yaml").write_text("lines: [")
    with pytest.raises(UserError, match="not valid YAML"):
        read_policies(tmp_path)
    (tmp_path / "p.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(UserError, match="not valid YAML"):
        read_policies(tmp_path)
    (tmp_path / "p.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="must hold keys, found list"):
        read_policies(tmp_path)


def test_reading_a_policy_twice_gives_the_same(tmp_path):
    content = policy(line(at_most=1)).model_dump(mode="json", exclude_none=True)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    assert parse_policy("p", read_policies(tmp_path)["p"]) == policy(line(at_most=1))


def test_the_gate_imports_no_torch():
    code = "import sys, i2i_unlearn.gate; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
