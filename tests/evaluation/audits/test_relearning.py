"""Fine-tuning on a few forget images: who gets the others back."""

import numpy as np
import pytest

from i2i_unlearn.evaluation.audits.course import MARGIN_DB, checks_of
from i2i_unlearn.evaluation.audits.relearning import AUDIT, MOST_CHECKED, Attacker, attacker_of, measures
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from tests.evaluation.audits.guilty import Counter, blocks, digest, image_set, inputs_of, known, make


@pytest.fixture(scope="module")
def attacked():
    """The guilty model as teacher; as unlearned one a copy of it that was only put out of step; the innocent."""
    models = {"teacher": known().guilty, "unlearned": known().guilty, "reference": known().innocent}
    return AUDIT.attack(inputs_of(models, known().sets), Counter())


def interval(attacked, model):
    found = measured(attacked.measures[model]["relearning_db"], attacked.num_images)
    return found["low"], found["high"]


def test_the_model_that_saw_the_others_has_them_back_and_the_one_that_did_not_has_not(attacked):
    assert interval(attacked, "teacher")[0] > interval(attacked, "reference")[1]
    assert interval(attacked, "unlearned") == interval(attacked, "teacher")  # it was not unlearned at all
    assert attacked.measures["teacher"]["relearning_steps"].value == 0
    assert attacked.measures["reference"]["relearning_steps"].value == attacked.facts["num_steps"] == 40
    assert attacked.facts["censored"] == ["reference"]


def test_all_models_learn_what_they_are_shown(attacked):
    for curve in attacked.curves.values():
        assert curve["shown_psnr_db"][-1] > curve["shown_psnr_db"][0] + 0.2
        assert len(curve["step"]) == len(curve["others_psnr_db"]) == len(curve["shown_psnr_db"]) == 7


@pytest.mark.parametrize("family", ["mae", "diffusion", "vqgan"])
def test_every_family_can_be_attacked(family):
    models = {"teacher": make(family), "unlearned": make(family, seed=1)}
    before = {name: digest(model) for name, model in models.items()}
    sets = {"forget": blocks(6, 1), "retain": blocks(6, 2)}
    found = AUDIT.attack(inputs_of(models, sets, relearn_steps=2), Counter())
    assert found.curves["teacher"]["step"] == [0, 1, 2]
    assert np.isfinite(found.measures["unlearned"]["relearning_db"].samples_K).all()
    assert len(set(found.curves["unlearned"]["shown_psnr_db"])) > 1  # it was trained
    assert {name: digest(model) for name, model in models.items()} == before


def test_without_retain_images_whole_batches_are_forget_images():
    inputs = inputs_of({"teacher": make()}, {"forget": blocks(6, 1)}, relearn_steps=1)
    assert AUDIT.attack(inputs, Counter()).facts["forget_per_step"] == 32


def test_nobody_shown_is_among_the_others_and_half_is_always_left():
    forget = blocks(31, 1)
    attacker = attacker_of(inputs_of({"teacher": make()}, {"forget": forget}, relearn_images=500))
    assert (len(attacker.shown), len(attacker.others)) == (15, 16)
    rows = {image.numpy().tobytes() for part in (attacker.shown, attacker.others) for image in part.images_NCHW}
    assert rows == {image.numpy().tobytes() for image in forget}
    many = attacker_of(inputs_of({"teacher": make()}, {"forget": blocks(300, 1)}, relearn_images=10))
    assert (len(many.shown), len(many.others)) == (10, MOST_CHECKED)
    assert AUDIT.min_images == 60  # 30 to judge by


def test_checks_are_spread_evenly_over_the_steps():
    assert checks_of(60) == [0, 10, 20, 30, 40, 50, 60]
    assert checks_of(3) == [0, 1, 2, 3]
    assert checks_of(1) == [0, 1]


def attacker():
    images = image_set(blocks(20, 0))
    return Attacker(shown=images, others=images[:2], retain=images)


def value(others_PN, level_N, measure, counts=((1.0, 1.0),)):
    found = measures(np.asarray(others_PN, float), np.asarray(level_N, float), [0, 5, 10], attacker())
    return found[measure].of(np.asarray(counts)).tolist()


def test_measures_by_hand():
    # Level .01 = 20 dB. The curve: 10 dB, 10 dB, 20 dB: below it by 10 and 0 after the start, back at the last check.
    others = [[0.1, 0.1], [0.15, 0.05], [0.01, 0.01]]
    assert value(others, [0.01, 0.01], "relearning_db") == [pytest.approx(-5)]
    assert value(others, [0.01, 0.01], "relearning_steps") == [10]
    # 16 a step: all 20 after two steps.
    assert value(others, [0.01, 0.01], "relearning_images") == [20]
    # Drawn twice, the second image alone: 10, 13.01 and 20 dB.
    assert value(others, [0.01, 0.01], "relearning_db", [[0.0, 2.0]]) == [pytest.approx((3.0103 - 10) / 2, abs=1e-4)]


def test_a_model_at_the_level_needs_no_step_and_no_image():
    same = [[0.01, 0.03]] * 3
    assert value(same, [0.01, 0.03], "relearning_steps") == [0]
    assert value(same, [0.01, 0.03], "relearning_images") == [0]
    just_below = 0.01 * 10 ** (0.9 * MARGIN_DB / 10)
    assert value([[just_below] * 2] * 3, [0.01, 0.01], "relearning_steps") == [0]


def test_a_model_that_never_comes_back_counts_as_the_limit():
    assert value([[0.1, 0.1]] * 3, [0.01, 0.01], "relearning_steps") == [10]
