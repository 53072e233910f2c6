"""Further training without forget images: who has them back, and when."""

import copy

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits.coming_back import AUDIT
from i2i_unlearn.evaluation.audits.course import MARGIN_DB, delay
from i2i_unlearn.evaluation.audits.run import decided, run_audits
from i2i_unlearn.evaluation.metrics.hole_psnr import SMALLEST_ERROR
from tests.evaluation.audits.guilty import Counter, blocks, digest, inputs_of, known, make


def errors(*psnr_db):
    """One image's hole error at each check."""
    return np.array([[10 ** (-value / 10)] for value in psnr_db])


def of_one(measured, name):
    return measured[name].of(np.ones((1, 1)))[0]


@pytest.mark.parametrize(
    ("course", "mean", "steps"),
    [
        ((18, 19, 20), (-1 + 0) / 2, 20),  # back at the last check
        ((18, 20 - MARGIN_DB / 2, 18), (-MARGIN_DB / 2 - 2) / 2, 10),  # back within the margin, then gone: back it was
        ((18, 18, 19), (-2 - 1) / 2, 20),  # never: the limit
        ((20, 18, 18), -2, 0),  # the original itself has no delay
    ],
)
def test_the_delay_by_hand(course, mean, steps):
    level_N = errors(20)[0]
    found = delay(errors(*course), level_N, [0, 10, 20], "x")
    assert of_one(found, "x_db") == pytest.approx(mean)
    assert of_one(found, "x_steps") == steps
    assert errors(20)[0, 0] > SMALLEST_ERROR


def hidden():
    """The guilty model with its answers made too bright: it remembers all that it did."""
    model = copy.deepcopy(known().guilty)
    with torch.no_grad():
        bias = [parameter for name, parameter in model.named_parameters() if name.endswith("decoder_pred.bias")]
        assert len(bias) == 1
        bias[0] += 0.2
    return model


@pytest.fixture(scope="module")
def attacked():
    models = {"teacher": known().guilty, "unlearned": hidden(), "reference": known().innocent}
    inputs = inputs_of(models, known().sets, relearn_steps=40)
    counter = Counter()
    found = AUDIT.attack(inputs, counter)
    assert counter.units.total() == AUDIT.units(inputs)
    return found


def test_what_was_only_hidden_comes_back_and_what_was_never_known_does_not(attacked):
    value = {name: {key: draws.value for key, draws in found.items()} for name, found in attacked.measures.items()}
    for of in ("auxiliary", "retain"):
        assert value["teacher"][f"{of}_steps"] == 0
        assert value["unlearned"][f"{of}_db"] > value["reference"][f"{of}_db"] + 0.1
        start, end = (attacked.curves["unlearned"][f"{of}_psnr_db"][at] for at in (0, -1))
        assert end > start + 0.1 > attacked.curves["reference"][f"{of}_psnr_db"][-1]
        assert attacked.facts[f"{of}_censored"] == ["unlearned", "reference"]
    assert max(attacked.curves["reference"]["retain_psnr_db"]) == attacked.curves["reference"]["retain_psnr_db"][0]
    assert attacked.facts["num_retain_steps"] == 7  # one epoch of 200 images, 32 a step
    assert attacked.facts["num_auxiliary_images"] == 100
    assert decided(AUDIT, attacked)[:2] == ("auxiliary_db", "measured")


@pytest.mark.parametrize("family", ["mae", "diffusion", "vqgan"])
def test_every_family_can_be_attacked_and_no_model_is_changed(family):
    models = {"teacher": make(family), "unlearned": make(family, seed=1)}
    before = {name: digest(model) for name, model in models.items()}
    sets = {"forget": blocks(30, 1), "retain": blocks(33, 2), "retain_holdout": blocks(30, 3)}
    inputs = inputs_of(models, sets, relearn_steps=1)
    found = AUDIT.attack(inputs, Counter())
    assert found.curves["teacher"]["retain_step"] == [0, 1, 2]
    assert all(np.isfinite(draws.samples_K).all() for draws in found.measures["unlearned"].values())
    assert {name: digest(model) for name, model in models.items()} == before


def test_without_never_seen_images_nothing_is_said():
    models = {"teacher": make(), "unlearned": make(seed=1)}
    inputs = inputs_of(models, {"forget": blocks(30, 1), "retain": blocks(30, 2)})
    object.__setattr__(inputs, "settings", inputs.settings.model_copy(update={"run": ["coming_back"]}))
    entry = run_audits(inputs, Counter())["coming_back"]
    assert (entry["status"], entry["why"]) == ("n/a", "30 images of retain_holdout are needed, there are 0")
