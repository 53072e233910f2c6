import numpy as np
import pytest

from i2i_unlearn.evaluation.metrics.scores import Scores
from i2i_unlearn.evaluation.metrics.table import METRICS, find_metric, name_in_metrics


def score(seen, set_name="forget", num_draws=50):
    scores = Scores()
    scores.add(set_name, seen, extractor="tiny", num_draws=num_draws, rng=np.random.default_rng(0))
    return scores


@pytest.mark.parametrize("extractor", ["inception_v3", "efficientnet_lite0"])
def test_every_name_in_metrics_leads_back_to_its_metric(extractor):
    for metric, entry in METRICS.items():
        of_features = extractor if entry.kind == "features" else ""
        assert find_metric(name_in_metrics(metric, extractor)) == (metric, of_features)
    assert find_metric("hole_psnr") is None


def test_only_with_inception_is_a_distance_an_fid_and_a_score_an_inception_score():
    names = [name_in_metrics(metric, "inception_v3") for metric in ("fd", "kid", "classifier_score")]
    assert names == ["fid_inception_v3", "kid_inception_v3", "inception_score_inception_v3"]
    names = [name_in_metrics(metric, "clip") for metric in ("fd", "kid", "classifier_score")]
    assert names == ["fd_clip", "kid_clip", "classifier_score_clip"]


def test_every_model_is_scored_and_every_pair_compared(observations):
    seen = {name: observations(num_images=8, seed=i) for i, name in enumerate(("teacher", "unlearned"))}
    seen["reference"] = observations(num_images=8, seed=2, references=())
    scores = score(seen)
    common = {"hole_psnr_db", "feature_cosine_tiny", "kid_tiny", "own_loss", "output_spread"}
    assert set(scores.scores["reference"]["forget"]) == common
    assert set(scores.scores["teacher"]["forget"]) == {*common, "reference_psnr_db"}
    assert set(scores.differences) == {"unlearned-teacher", "unlearned-reference", "reference-teacher"}
    assert set(scores.differences["unlearned-teacher"]["forget"]) == {*common, "reference_psnr_db"}
    assert set(scores.ratios["unlearned/reference"]["forget"]) == {"own_loss", "output_spread"}


def test_a_difference_is_the_difference_of_the_scores(observations):
    seen = {"teacher": observations(seed=0), "unlearned": observations(seed=1)}
    scores = score(seen)
    for metric, difference in scores.differences["unlearned-teacher"]["forget"].items():
        parts = [scores.scores[model]["forget"][metric]["value"] for model in ("unlearned", "teacher")]
        assert difference["value"] == pytest.approx(parts[0] - parts[1])
        if difference["low"] is not None:
            assert difference["low"] <= difference["value"] <= difference["high"]


def test_large_sets_get_a_frechet_distance_without_interval(observations):
    seen = observations(num_images=12, num_features=6)
    found = score({"teacher": seen, "unlearned": seen}).scores["teacher"]["forget"]
    assert "kid_tiny" not in found
    assert found["fd_tiny"]["value"] > 0
    assert found["fd_tiny"]["low"] is None


def test_sets_are_added_one_by_one(observations):
    scores = Scores()
    seen = {"teacher": observations(), "unlearned": observations(seed=1)}
    for name in ("forget", "retain"):
        scores.add(name, seen, extractor="tiny", num_draws=5, rng=np.random.default_rng(0))
    assert list(scores.scores["teacher"]) == ["forget", "retain"]
