"""A probe that finds what is there, and nothing where there is nothing."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from i2i_unlearn.evaluation.audits.linear_probe import AUDIT, NUM_FOLDS, auc_within_folds, held_out_scores
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from i2i_unlearn.models.base import Embedding
from tests.evaluation.audits.guilty import ARCHITECTURES, Counter, blocks, inputs_of, known, make


def folds_of(num_members, num_others):
    return np.arange(num_members) % NUM_FOLDS, np.arange(num_others) % NUM_FOLDS


def found_auc(member_ND, other_ND):
    folds = folds_of(len(member_ND), len(other_ND))
    statistic = auc_within_folds(held_out_scores(member_ND, other_ND, folds), folds)
    return float(statistic(np.ones((1, len(member_ND))), np.ones((1, len(other_ND))))[0])


def test_a_direction_that_tells_is_found_and_noise_is_not_learned_by_heart():
    rng = np.random.default_rng(0)
    member_ND, other_ND = rng.normal(size=(100, 200)), rng.normal(size=(100, 200))
    assert found_auc(member_ND, other_ND) == pytest.approx(0.5, abs=0.12)  # more columns than images
    member_ND[:, 3] += 3
    assert found_auc(member_ND, other_ND) > 0.8


def test_the_area_is_that_of_each_fold_averaged_over_pairs():
    rng = np.random.default_rng(1)
    scores, folds = (rng.normal(size=23), rng.normal(size=31)), folds_of(23, 31)
    areas, pairs = [], []
    for number in range(NUM_FOLDS):
        members, others = scores[0][folds[0] == number], scores[1][folds[1] == number]
        labels = np.r_[np.ones(len(members)), np.zeros(len(others))]
        areas.append(roc_auc_score(labels, np.r_[members, others]))
        pairs.append(len(members) * len(others))
    found = auc_within_folds(scores, folds)(np.ones((1, 23)), np.ones((1, 31)))
    assert float(found[0]) == pytest.approx(np.average(areas, weights=pairs), abs=1e-12)


def test_a_fold_that_a_draw_left_empty_does_not_count():
    members, others = np.arange(10.0), np.arange(10.0) - 0.5
    folds = folds_of(10, 10)
    weights = np.ones((1, 10))
    weights[0, folds[0] == 0] = 0
    assert np.isfinite(auc_within_folds((members, others), folds)(weights, np.ones((1, 10)))).all()


class Marked:
    """Encodes an image as noise, and lets those it was shown stand out by `mark`."""

    def __init__(self, shown_NCHW, mark):
        self._shown = {bytes(image.numpy()) for image in shown_NCHW}
        self._mark = mark

    def encode(self, images_BCHW, visible_BHW):
        bytes_BCHW = ((images_BCHW + 1) * 127.5).round().to(torch.uint8)
        marks = [self._mark * (bytes(image.numpy()) in self._shown) for image in bytes_BCHW]
        noise = torch.randn(len(images_BCHW), 4, 3, generator=torch.Generator().manual_seed(int(bytes_BCHW.sum())))
        noise[:, :, 0] += torch.tensor(marks).unsqueeze(1)
        return Embedding((noise,))


def test_marks_in_the_embeddings_are_found_in_the_model_that_has_them():
    sets = {"forget": blocks(100, 1), "forget_holdout": blocks(100, 3)}
    models = {"teacher": Marked(sets["forget"], 2.0), "reference": Marked(sets["forget"], 0.0)}
    found = AUDIT.attack(inputs_of(models, sets), Counter())
    marked, plain = (measured(found.measures[name]["auc"], 100) for name in models)
    assert marked["low"] > 0.8
    assert plain["low"] < 0.5 < plain["high"]
    assert "confounded" not in found.facts


def test_images_of_other_classes_are_told_to_confound():
    sets = {"forget": blocks(60, 1), "retain_holdout": blocks(60, 3)}
    found = AUDIT.attack(inputs_of({"teacher": known().guilty}, sets), Counter())
    assert (found.compared_with, found.innocent_holds) == ("retain_holdout", False)
    assert "reads the class" in found.facts["confounded"]


def test_every_familys_embedding_can_be_probed():
    sets = {"forget": blocks(50, 1), "forget_holdout": blocks(50, 3)}
    for family in ARCHITECTURES:
        found = AUDIT.attack(inputs_of({"teacher": make(family)}, sets), Counter())
        assert 0 <= found.measures["teacher"]["auc"].value <= 1
        assert found.facts["num_features"] > 1
