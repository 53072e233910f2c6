from pathlib import Path

from i2i_unlearn.files import read_json
from i2i_unlearn.gate import read_policies
from i2i_unlearn.stages.evaluate_inputs import read_inputs

POLICIES = Path(__file__).parents[2] / "mlflow" / "policies"


def test_counts_of_near_copies_come_from_the_split(tiny):
    config = tiny.config("evaluate", policies=read_policies(POLICIES))
    inputs = read_inputs(tiny.images, tiny.splits, tiny.teacher, tiny.artifact("unlearned"), None, config)
    summary = read_json(tiny.splits / "summary.json")
    assert inputs.near_duplicates["num_near_duplicates"] == summary["num_near_duplicates"]
    assert all("near_duplicates" in key for key in inputs.near_duplicates)
