"""Neighbours of forget images, and what models make of them."""

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits.perturbation import AUDIT, SIZE, gain_db, nearer_share, perturbed
from i2i_unlearn.evaluation.audits.run import judge
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from i2i_unlearn.models.base import Embedding
from tests.evaluation.audits.guilty import Counter, blocks, inputs_of, known


def models():
    return {"teacher": known().guilty, "unlearned": known().guilty, "reference": known().innocent}


def sets():
    return {**known().sets, "retain_holdout": blocks(100, 4)}


@pytest.fixture(scope="module")
def attacked():
    inputs = inputs_of(models(), sets(), perturbations=3)
    assert AUDIT.units(inputs) == 3 * 200 * 4  # models, images of both sets, an image and its neighbours
    return AUDIT.attack(inputs, Counter())


def test_the_model_that_remembers_is_nearer_to_the_truth_around_what_it_saw(attacked):
    found = measured(attacked.measures["teacher"]["nearer_than_reference"], 100)
    assert found["low"] > 0.2
    assert judge(AUDIT, attacked)[0] == "measured"


def test_the_reference_is_neither_nearer_nor_farther_than_itself(attacked):
    found = measured(attacked.measures["reference"]["nearer_than_reference"], 100)
    assert (found["value"], found["low"], found["high"]) == (0.0, 0.0, 0.0)


def test_a_model_that_was_not_unlearned_is_the_original(attacked):
    found = attacked.measures
    for measure in ("gain_db", "nearer_than_reference"):
        assert not found["unlearned"][measure].minus(found["teacher"][measure]).samples_K.any()


def test_without_a_reference_only_the_gain_is_measured_and_the_audit_is_not_applicable():
    alone = {"teacher": known().guilty, "unlearned": known().guilty}
    found = AUDIT.attack(inputs_of(alone, sets()), Counter())
    assert set(found.measures["teacher"]) == {"gain_db"}
    assert judge(AUDIT, found) == ("n/a", "nearer_than_reference cannot be measured without a reference")


def test_neighbours_differ_where_pixels_are_seen_by_no_more_than_the_size():
    images = torch.rand(5, 3, 16, 16) * 2 - 1
    images[0] = 1.0  # white cannot get whiter
    visible = torch.ones(5, 16, 16, dtype=torch.bool)
    visible[:, :8] = False
    found = perturbed(images, visible, torch.Generator().manual_seed(0))
    assert torch.equal(found[:, :, :8], images[:, :, :8])
    moved = (found - images)[:, :, 8:].abs() / 2  # of pixels in [0, 1]
    assert 0.95 * SIZE < float(moved[1:].max()) <= SIZE + 1e-6
    assert float(moved[1:].mean()) == pytest.approx(SIZE / 2, rel=0.1)  # uniform
    assert float(found.max()) <= 1.0


def test_share_and_gain_by_hand():
    # Column 0 is the image itself. Neighbours: 0.1 < 0.2, 0.2 = 0.2, 0.3 > 0.1: (1 + 1/2 + 0) / 3.
    error, reference = np.array([[0.4, 0.1, 0.2, 0.3]]), np.array([[9.0, 0.2, 0.2, 0.1]])
    assert nearer_share(error, reference).tolist() == [0.5]
    assert gain_db(error)[0] == pytest.approx(10 * np.log10(0.4 / 0.1))


class Hiding:
    """Knows every image, but only tells where the input is not exactly the image it was asked to forget."""

    def __init__(self, truth_NCHW, hides):
        self._truth = truth_NCHW.float() / 127.5 - 1
        self._hides = hides

    def encode(self, images_BCHW, visible_BHW):
        return Embedding((images_BCHW,))

    def complete(self, images_BCHW, visible_BHW, *, generator):
        shown = visible_BHW.unsqueeze(1)
        apart = ((images_BCHW.unsqueeze(1) - self._truth) * shown.unsqueeze(1)).abs().amax((2, 3, 4))
        distance, nearest = apart.min(1)
        knows = (distance > 0) if self._hides else torch.zeros_like(distance, dtype=torch.bool)
        painted = torch.where(knows.view(-1, 1, 1, 1), self._truth[nearest], torch.zeros(()))
        return torch.where(shown, images_BCHW, painted)


def test_what_shows_only_around_an_image_is_found():
    # The image itself is completed as by the reference; each of its neighbours as by one who knows it.
    few = {"forget": blocks(60, 1), "retain_holdout": blocks(60, 4)}
    hiding, plain = (Hiding(few["forget"], hides) for hides in (True, False))
    found = AUDIT.attack(inputs_of({"teacher": hiding, "unlearned": hiding, "reference": plain}, few), Counter())
    assert found.measures["unlearned"]["gain_db"].value > 20
