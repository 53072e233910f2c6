import json

import pytest

from i2i_unlearn.evaluation.findings import read_findings
from i2i_unlearn.support.errors import UserError


def test_the_present_version_is_read_as_it_is(tmp_path):
    content = {"schema_version": 5, "audits": {"membership": {}}, "selected_by": "label"}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert read_findings(tmp_path / "metrics.json") == content


@pytest.mark.parametrize("content", [{"schema_version": 4}, {"schema_version": 6}, {"schema_version": "5"}, {}, []])
def test_any_other_version_is_refused_with_the_command(tmp_path, content):
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="this program reads 5; run `i2i-unlearn evaluate` again"):
        read_findings(tmp_path / "metrics.json")
