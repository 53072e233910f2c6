"""Fine-tuning on a few forget images: who gets the others back."""

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits.relearning import (
    AUDIT,
    MARGIN_DB,
    MOST_CHECKED,
    Attacker,
    attacker_of,
    checks_of,
    measures,
)
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from i2i_unlearn.support.errors import UserError
from tests.evaluation.audits.guilty import Counter, blocks, digest, image_set, inputs_of, known, make


@pytest.fixture(scope="module")
def attacked():
    """The guilty model as teacher; as unlearned one a copy of it that was only put out of step; the innocent."""
    before = {name: digest(model) for name, model in models().items()}
    counter = Counter()
    inputs = inputs_of(models(), known().sets)
    return AUDIT.attack(inputs, counter), counter.units, AUDIT.units(inputs), before


def models():
    return {"teacher": known().guilty, "unlearned": known().guilty, "reference": known().innocent}


def interval(attacked, model, measure="relearning_db"):
    found = measured(attacked.measures[model][measure], attacked.num_images)
    return found["low"], found["high"]


def test_the_model_that_saw_the_others_has_them_back_and_the_one_that_did_not_has_not(attacked):
    found = attacked[0]
    assert interval(found, "teacher")[0] > interval(found, "reference")[1]
    assert interval(found, "unlearned") == interval(found, "teacher")  # it was not unlearned at all
    assert found.measures["teacher"]["relearning_steps"].value == 0
    assert found.measures["reference"]["relearning_steps"].value == found.facts["num_steps"] == 40
    assert found.facts["censored"] == ["reference"]


def test_all_models_learn_what_they_are_shown(attacked):
    for curve in attacked[0].curves.values():
        assert curve["shown_psnr_db"][-1] > curve["shown_psnr_db"][0] + 0.2
        assert len(curve["step"]) == len(curve["others_psnr_db"]) == len(curve["shown_psnr_db"]) == 7


def test_the_models_are_left_as_they_were(attacked):
    assert {name: digest(model) for name, model in models().items()} == attacked[3]
    assert not any(parameter.requires_grad for model in models().values() for parameter in model.parameters())
    assert not any(model.training for model in models().values())


def test_the_bar_ends_where_it_said(attacked):
    assert attacked[1] == attacked[2]


def test_same_seed_same_numbers():
    inputs = inputs_of({"teacher": known().innocent}, known().sets, relearn_steps=3)
    before = torch.random.get_rng_state()
    one, two = (AUDIT.attack(inputs, Counter()) for _ in range(2))
    assert one.curves == two.curves
    for measure, draws in one.measures["teacher"].items():
        assert draws.samples_K.tolist() == two.measures["teacher"][measure].samples_K.tolist()
    assert torch.random.get_rng_state().equal(before)


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


def test_weights_that_are_not_finite_are_told_with_the_audit():
    broken = make()
    broken.model.vit.layernorm.weight.fill_(float("nan"))
    inputs = inputs_of({"teacher": broken}, {"forget": blocks(6, 1)}, relearn_steps=1)
    with pytest.raises(UserError, match=r"audit relearning: .*step 1: the loss is not finite"):
        AUDIT.attack(inputs, Counter())
