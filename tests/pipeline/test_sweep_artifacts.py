"""What the steps of a sweep hand on and show."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from i2i_unlearn.pipeline import step_outputs
from i2i_unlearn.sweeps import table as pareto
from tests.sweeps.point_folders import write_point


@dataclass
class Shown:
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def log_metric(self, metric: str, value: float) -> None:
        self.metadata[metric] = value


@pytest.fixture
def outputs(tmp_path):
    return {name: Shown(str(tmp_path / name)) for name in ("evaluated", "report", "decision", "scores")}


def test_a_point_that_diverged_hands_on_its_reason_and_shows_it(tmp_path, outputs):
    home = write_point(tmp_path / "point", objective="<b>", diverged="step 3: the loss is not finite")
    facts = {"point": "<b> alpha 0.25", "folder": str(home), "outcome": "diverged", "computed": "new"}
    assert step_outputs.show_point(facts, *outputs.values()) == "diverged"
    assert Path(outputs["decision"].path).read_text() == "## &lt;b&gt; alpha 0.25: training diverged\n"
    assert "&lt;b&gt; alpha 0.25" in Path(outputs["report"].path).read_text()
    assert outputs["evaluated"].metadata == facts
    assert [path.name for path in Path(outputs["evaluated"].path).iterdir()] == ["point.json"]


def test_the_weights_of_a_point_are_not_handed_on(tmp_path, outputs):
    home = write_point(tmp_path / "point", diverged="x")
    (home / "unlearned/model").mkdir(parents=True)
    (home / "unlearned/model/model.safetensors").write_bytes(b"weights")
    facts = {"point": "p", "folder": str(home), "outcome": "diverged"}
    step_outputs.show_point(facts, *outputs.values())
    assert not list(Path(outputs["evaluated"].path).rglob("*.safetensors"))


def test_the_page_of_a_sweep_is_shown_with_its_facts(tmp_path):
    table, page = Shown(str(tmp_path / "table")), Shown(str(tmp_path / "page"))
    collected = [Shown(str(write_point(tmp_path / name, value))) for name, value in (("a", -1.0), ("b", -2.0))]
    facts = pareto.run(step_outputs.paths(collected), table.path)
    step_outputs.show_sweep(facts, table, page)
    assert Path(page.path).read_text() == (tmp_path / "table/pareto.html").read_text()
    assert table.metadata == page.metadata == facts
