"""Membership inference on models known to be guilty, and on ones that draw at random."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from i2i_unlearn.evaluation.audits import membership
from i2i_unlearn.evaluation.audits.membership import AUDIT, scores_of
from i2i_unlearn.evaluation.audits.run import judge
from i2i_unlearn.evaluation.audits.seen import Likeness, Losses, averaged
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from i2i_unlearn.models.pixels import to_float
from tests.evaluation.audits.guilty import Counter, blocks, inputs_of, known, make


def guilty_and_innocent():
    return {"teacher": known().guilty, "unlearned": known().innocent, "reference": known().innocent}


@pytest.fixture(scope="module")
def attacked():
    return AUDIT.attack(inputs_of(guilty_and_innocent(), known().sets), Counter())


@pytest.mark.parametrize("measure", ["auc_loss", "auc_similarity"])
def test_the_model_that_remembers_is_found_out_and_the_other_is_not(attacked, measure):
    guilty, innocent = (measured(attacked.measures[name][measure], 100) for name in ("teacher", "reference"))
    assert guilty["low"] > 0.5
    assert innocent["low"] < 0.5 < innocent["high"]
    assert judge(AUDIT, attacked, measure)[0] == "measured"


def test_models_that_are_the_same_have_no_difference(attacked):
    found = attacked.measures
    assert not found["unlearned"]["auc_loss"].minus(found["reference"]["auc_loss"]).samples_K.any()


def worked_apart(model):
    """Minus the loss of each forget image, and of each never-trained one."""
    scores = []
    for name in ("forget", "forget_holdout"):
        images = inputs_of(guilty_and_innocent(), known().sets).sets[name]
        loss = model.training_loss(to_float(images.images_NCHW), images.visible_NHW, generator=torch.Generator())
        scores.append(-loss.detach().numpy())
    return scores


def test_the_auc_is_that_of_the_losses_worked_out_apart(attacked):
    expected = roc_auc_score(np.r_[np.ones(100), np.zeros(100)], np.concatenate(worked_apart(known().guilty)))
    assert attacked.measures["teacher"]["auc_loss"].value == pytest.approx(expected, abs=1e-6)


def test_a_rate_at_one_percent_needs_a_thousand_others(attacked, monkeypatch):
    assert not any(name.startswith("tpr") for name in attacked.measures["teacher"])
    assert attacked.facts["tpr_at_1pct_fpr_left_out"] == "needs 1000 never-seen images, there are 100"
    monkeypatch.setattr(membership, "FALSE_ALARMS_NEEDED", 1)
    found = AUDIT.attack(inputs_of(guilty_and_innocent(), known().sets), Counter())
    for name, model in (("teacher", known().guilty), ("reference", known().innocent)):
        members, others = worked_apart(model)
        best_but_one = np.sort(others)[-2]  # of a hundred, one may be taken for a member
        rate = found.measures[name]["tpr_at_1pct_fpr_loss"].value
        assert rate == pytest.approx((members > best_but_one).mean()), name
    assert "tpr_at_1pct_fpr_left_out" not in found.facts


def test_the_curves_begin_and_end_in_the_corners(attacked):
    for columns in attacked.curves.values():
        for axis in ("fpr_loss", "tpr_loss", "fpr_similarity", "tpr_similarity"):
            assert (columns[axis][0], columns[axis][-1]) == (0.0, 1.0)


def test_without_a_like_holdout_chance_is_not_innocent_unless_single_images_were_asked_for():
    sets = {"forget": known().sets["forget"], "retain_holdout": blocks(60, 4)}
    inputs = inputs_of({"teacher": known().guilty}, sets)
    found = AUDIT.attack(inputs, Counter())
    assert (found.compared_with, found.innocent_holds) == ("retain_holdout", False)
    assert AUDIT.attack(replace(inputs, single_images=True), Counter()).innocent_holds


def test_similarity_by_hand():
    # The others' spread: log error 1 (0 and 2), cosine 0.5 (0 and 1). Member: 1 / 0.5 - 0 / 1 = 2.
    def seen(log_errors, cosines):
        return Likeness(np.array(log_errors), np.array(cosines), np.full(len(cosines), ""), 1)

    losses = [Losses(np.zeros(num), np.arange(num), np.full(num, ""), 1) for num in (1, 2)]
    member, others = scores_of(losses, [seen([0.0], [1.0]), seen([0.0, 2.0], [0.0, 1.0])])["similarity"]
    assert (member.tolist(), others.tolist()) == ([2.0], [0.0, 0.0])


def test_a_model_that_draws_at_random_is_averaged_over_draws_and_others_are_not():
    models = {"teacher": make("diffusion")}
    few = {"forget": blocks(10, 1), "forget_holdout": blocks(50, 3)}
    random = AUDIT.attack(inputs_of(models, few, num_completions=3), Counter()).facts
    assert (random["losses_averaged"], random["completions_averaged"]) == (3, 3)
    fixed = AUDIT.attack(inputs_of({"teacher": make("mae")}, few, num_completions=3), Counter()).facts
    assert (fixed["losses_averaged"], fixed["completions_averaged"]) == (1, 1)


def test_an_average_is_the_mean_of_the_draws_and_the_same_for_every_model():
    inputs = inputs_of({}, {"forget": blocks(70, 1)}, num_completions=4)  # two batches

    def look(rows, images_BCHW, visible_BHW, generator):
        return torch.rand(len(images_BCHW), generator=generator)

    found, num = averaged(inputs, inputs.sets["forget"], look, Counter(), "membership", "x")
    again, _ = averaged(inputs, inputs.sets["forget"], look, Counter(), "membership", "x")
    draws = [torch.rand(70, generator=inputs.generator("membership", "x", draw)) for draw in range(4)]
    assert num == 4
    np.testing.assert_allclose(found, torch.stack(draws).double().mean(0).numpy(), rtol=1e-12)
    assert (found == again).all()
