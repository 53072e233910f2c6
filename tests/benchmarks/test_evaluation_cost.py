"""The benchmark of an evaluation's cost: what it times is the stage as it is."""

import pytest
import torch

from benchmarks.evaluation_cost import TINY, Run, measure
from benchmarks.evaluation_cost_project import make_project
from benchmarks.pairs import Time
from i2i_unlearn.evaluation import embedding_map
from i2i_unlearn.models import extractors
from i2i_unlearn.stages import evaluate
from i2i_unlearn.support.files import read_json


class Means:
    """An extractor that costs nothing."""

    num_features = 4

    def __call__(self, images_BCHW):
        return torch.nn.functional.adaptive_avg_pool2d(images_BCHW.mean(1, keepdim=True), 2).flatten(1)


def test_the_cost_by_hand():
    # three batches of 10; two have a twin: 3 s against 2, 6 against 4: 1.5; 6 s for 20 bare images make 9 for 30
    pairs = [(Time(3, 3), Time(2, 2)), (Time(6, 6), Time(4, 4))]
    run = Run(30, Time(20, 20), pairs, between=Time(4.5, 1.8), bare_images=20, peak_bytes=0)
    assert run.cost("wall_s") == pytest.approx({"batches": 1.5, "rest": 0.5, "cost": 2.0})
    assert run.cost("processor_s") == pytest.approx({"batches": 1.5, "rest": 0.2, "cost": 1.7})


def test_bare_passes_beside_the_stage_do_not_change_what_it_finds(tmp_path, monkeypatch):
    monkeypatch.setitem(extractors.EXTRACTORS, "efficientnet_lite0", lambda device: Means())
    monkeypatch.setattr(embedding_map, "_FEWEST_POINTS", 10**9)
    project = make_project(tmp_path, 50, "mae", TINY)
    observer = evaluate.SetObserver
    found = []
    for every in (0, 2):
        run = measure(project, 50, every)
        found.append(read_json(tmp_path / "evaluation/metrics.json"))
        assert evaluate.SetObserver is observer
    assert found[0] == found[1]
    assert found[0]["sets"]["retain"]["num_scored"] == 40
    of_features = {"fd_efficientnet_lite0", "feature_cosine_efficientnet_lite0"}
    assert found[0]["scores"]["teacher"]["retain"].keys() >= of_features
    # batches 2 and 4 of five (10 forget and 40 retain images)
    assert (len(run.pairs), run.bare_images) == (2, 20)
    assert run.total.processor_s > run.between.processor_s > 0
    assert run.peak_bytes > 100 * 2**20
