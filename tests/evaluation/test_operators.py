"""Several operators: each is judged, and the worst decides."""

from i2i_unlearn.evaluation.gate import judge, read_policies
from i2i_unlearn.stages import evaluate
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import read_json
from tests.conftest import ROOT
from tests.evaluation.quick import QUICK, quick
from tests.evaluation.test_gate import line, metrics, outcome, policy
from tests.support.says import says

POLICIES = read_policies(ROOT / "mlflow/policies")
AUC = {"audit": "membership", "model": "unlearned", "metric": "auc_loss"}


def under(first, **others):
    """Content of metrics.json with these values, each known to .1, of the first operator and of others."""
    found = metrics(first, first - 0.1, first + 0.1) | {"operator": "center_hole", "keep_fraction": 0.75}
    found["models"] = {"teacher": "", "unlearned": ""}
    of_others = {
        f"{name}:0.5": {**metrics(value, value - 0.1, value + 0.1), "audits": {}} for name, value in others.items()
    }
    return found | {"operators": of_others}


def test_the_worst_operator_decides_and_every_one_is_told():
    wanted = line("forgotten", at_most=-0.8)
    assert outcome(under(-2, outpaint=-1.5), wanted) == "pass"
    assert outcome(under(-2, outpaint=-0.8), wanted) == "undecided"
    verdict = judge(under(-2, outpaint=0, half_left=-1.5), policy(wanted)).lines[0]
    assert (verdict.outcome, verdict.value) == ("fail", 0)
    assert "(operator outpaint:0.5; operator center_hole:0.75 pass, operator half_left:0.5 pass)" in verdict.why


def test_an_audit_that_is_made_under_the_first_operator_alone_is_judged_there():
    areas = {"unlearned": (0.5, 0.4, 0.6), "teacher": (0.9, 0.8, 1.0)}
    models = {
        name: {"auc_loss": dict(zip(("value", "low", "high"), ends, strict=True))} for name, ends in areas.items()
    }
    found = under(-2, outpaint=-2) | {"audits": {"membership": {"status": "measured", "why": "", "models": models}}}
    (verdict,) = judge(found, policy(line("membership", at_most=0.7, measure=AUC))).lines
    assert verdict.outcome == "pass"


def test_what_one_operator_cannot_judge_another_does_not_pass():
    wanted = line("forgotten", at_most=-0.8)
    for missing in ("first", "other"):
        found = under(-2, outpaint=-2)
        (found if missing == "first" else found["operators"]["outpaint:0.5"])["differences"] = {}
        assert judge(found, policy(wanted)).lines[0].outcome == "n/a"


# --- the stage ---

OTHER = "half_left:0.5"


def evaluated(tiny, out, **changes):
    settings = {"policies": POLICIES, "policy": "as_unseen", "audits": {"run": ["rank_shift"]}}
    config = tiny.config("evaluate", **settings | QUICK | changes)
    with quick():
        evaluate.run(tiny.images, tiny.splits, tiny.teacher, tiny.artifact("unlearned"), "", out, config)
    return read_json(out / "metrics.json")


def test_every_operator_is_judged_as_the_first_one_is(tiny, tmp_path):
    trained = tiny.config("unlearn")
    first = f"{trained.operator}:{trained.keep_fraction:g}"
    found = evaluated(tiny, tmp_path / "several", operators=[first, OTHER])
    alone = evaluated(tiny, tmp_path / "alone")
    assert found | {"operators": {}} == alone
    assert list(found["operators"]) == [OTHER]
    other = found["operators"][OTHER]
    tables = ("scores", "differences", "ratios", "gaps", "classes", "relative", "earlier_requests")
    assert {key: set(other[key]) for key in tables} == {key: set(found[key]) for key in tables}
    assert other["scores"] != found["scores"]
    assert set(other["audits"]) == {"rank_shift"}
    assert other["audits"]["rank_shift"]["models"]["teacher"]["error_shift"]["value"] == 0
    page = (tmp_path / "several/report.html").read_text()
    assert "Each operator" in page
    assert OTHER in page
    lines = read_json(tmp_path / "several/verdicts.json")["verdicts"]["as_unseen"]["lines"]
    assert any(f"operator {OTHER}" in line["why"] for line in lines)


def test_a_wrong_operator_is_refused_before_anything_is_scored(tiny, tmp_path):
    for label, words in (("crop:0.5", "choose one of"), ("half_left", "NAME:KEEP_FRACTION")):
        with says(UserError, words):
            evaluated(tiny, tmp_path / "out", operators=[label])
    assert not (tmp_path / "out").exists()
