import json

import pytest

from i2i_unlearn.evaluation.findings_ import read_findings
from i2i_unlearn.support.errors import UserError


def test_an_evaluation_from_before_the_audits_is_read_as_one_without_any(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"schema_version": 1, "scores": {"teacher": {}}}))
    (tmp_path / "verdicts.json").write_text(json.dumps({"schema_version": 1, "deciding": "forgotten"}))
    found = read_findings(tmp_path / "metrics.json")
    assert found == {
        "schema_version": 3,
        "scores": {"teacher": {}},
        "audits": {},
        "selected_by": "",
        "holdout_alike": False,
    }
    assert read_findings(tmp_path / "verdicts.json") == {"schema_version": 3, "deciding": "forgotten"}


def test_the_present_version_is_read_as_it_is(tmp_path):
    content = {"schema_version": 3, "audits": {"membership": {}}, "selected_by": "label"}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert read_findings(tmp_path / "metrics.json") == content


@pytest.mark.parametrize("content", [{"schema_version": 4}, {"schema_version": "3"}, {}, []])
def test_any_other_version_is_refused_with_the_command(tmp_path, content):
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="this program reads 3; run `i2i-unlearn evaluate` again"):
        read_findings(tmp_path / "metrics.json")


def test_the_feature_cosine_of_an_earlier_evaluation_gets_its_extractors_name(tmp_path):
    table = {"teacher": {"retain": {"feature_cosine": {"value": 0.8}, "hole_psnr_db": {"value": 9.0}}}}
    content = {"schema_version": 2, "extractor": "clip", "scores": table, "differences": {}, "ratios": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    found = read_findings(tmp_path / "metrics.json")
    assert found["scores"] == {
        "teacher": {"retain": {"feature_cosine_clip": {"value": 0.8}, "hole_psnr_db": {"value": 9.0}}}
    }
    assert (found["differences"], found["ratios"], found["schema_version"]) == ({}, {}, 3)
