"""Bounds on epsilon from guessing who was trained on, on models that are known to be guilty or innocent."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits.base import CanaryImages
from i2i_unlearn.evaluation.audits.canaries import AUDIT, epsilon_at_least, num_right, p_value
from i2i_unlearn.evaluation.audits.run import run_audits
from tests.evaluation.audits.guilty import Counter, image_set, inputs_of
from tests.evaluation.audits.made import Told, images_of


@pytest.mark.parametrize(
    ("right", "guessed", "canaries", "delta", "published"),
    [  # Steinke, Nasr, Jagielski, arXiv:2305.08846: appendix D and section 7, rounded there
        (75, 100, 100, 0.0, 0.702),
        (75, 100, 100, 1e-4, 0.699),
        (75, 100, 1000, 1e-4, 0.673),
        (1439, 1510, 100_000, 1e-5, 2.675),
    ],
)
def test_the_bound_is_the_published_one(right, guessed, canaries, delta, published):
    assert epsilon_at_least(right, guessed, delta, canaries) == pytest.approx(published, abs=1e-3)


def test_the_published_p_value():
    assert p_value(75, 100, math.log(3), 0.0, 100) == pytest.approx(0.553, abs=5e-4)


def test_all_right_by_hand():
    # All of n right has the probability q^n: q = .05^(1/n), epsilon = log(q / (1 - q)).
    for num in (10, 100):
        share = 0.05 ** (1 / num)
        assert epsilon_at_least(num, num, delta=0.0) == pytest.approx(math.log(share / (1 - share)))
    # one guess, delta .01: q + 2 * .01 * (1 - q) / 1 = .5 + .01
    assert p_value(1, 1, 0.0, 0.01, 1) == pytest.approx(0.51)


def test_laws_of_the_bound():
    assert epsilon_at_least(0, 10) == epsilon_at_least(5, 10) == epsilon_at_least(50, 100) == 0.0
    bounds = [epsilon_at_least(right, 100) for right in range(60, 101, 5)]
    assert bounds == sorted(bounds)
    assert epsilon_at_least(75, 100, delta=1e-3) < epsilon_at_least(75, 100, delta=1e-5)
    assert epsilon_at_least(750, 1000) > epsilon_at_least(75, 100)


def test_without_memory_the_bound_is_above_nothing_no_more_often_than_the_level_says():
    rng = np.random.default_rng(0)
    found = [epsilon_at_least(num_right(rng.normal(size=100), rng.random(100) < 0.5), 100) > 0 for _ in range(1000)]
    assert np.mean(found) <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


def test_the_half_with_the_lowest_loss_is_guessed_in_and_order_does_not_matter():
    loss, included = np.array([1.0, 4.0, 2.0, 3.0]), np.array([True, False, False, True])
    assert num_right(loss, included) == 2  # 1 and 2 are guessed in: right on the first and on 4
    order = np.array([2, 0, 3, 1])
    assert num_right(loss[order], included[order]) == 2


def made(*, withdrawn=True):
    """Canaries of which the original saw those that the coin included; every other one is tested."""
    images = torch.cat((images_of("forget", 100), images_of("forget_holdout", 100)))
    included = np.arange(200) < 100
    tested = np.arange(200) % 2 == 0
    forgotten = tested & included if withdrawn else np.zeros(200, dtype=bool)

    def model(seed, remembered):
        rng = np.random.default_rng(seed)
        hard = {name: np.exp(rng.normal(0, 0.5, 100)) for name in ("forget", "forget_holdout")}
        return Told({**hard, "forget": hard["forget"] * remembered})

    inputs = inputs_of({"teacher": model(1, 0.4), "unlearned": model(2, 1.0), "reference": model(3, 1.0)}, {})
    canaries = CanaryImages(images=image_set(images), included_N=included, tested_N=tested, forgotten_N=forgotten)
    return replace(inputs, canaries=canaries, settings=inputs.settings.model_copy(update={"run": ["canaries"]}))


def test_the_original_gives_its_canaries_away_and_a_model_that_never_saw_them_does_not():
    inputs, counter = made(), Counter()
    entry = run_audits(inputs, counter)["canaries"]
    assert counter.units.total() == AUDIT.units(inputs) == 600
    value = {name: {key: score["value"] for key, score in found.items()} for name, found in entry["models"].items()}
    assert (entry["status"], entry["measure"]) == ("measured", "epsilon_requested")
    assert value["teacher"]["epsilon_training"] > value["teacher"]["epsilon_requested"] > 0
    assert value["unlearned"]["epsilon_requested"] == value["reference"]["epsilon_requested"] == 0
    assert entry["facts"]["num_canaries_withdrawn"] == 50
    right = entry["facts"]["right_guesses"]["teacher"]
    assert value["teacher"]["epsilon_training"] == epsilon_at_least(right["epsilon_training"], 200)


def test_before_they_are_withdrawn_the_training_alone_is_bounded():
    entry = run_audits(made(withdrawn=False), Counter())["canaries"]
    assert entry["status"] == "n/a"
    assert "data canaries" in entry["why"]
    assert entry["models"]["teacher"].keys() == {"epsilon_training"}


def test_without_canaries_the_audit_says_what_it_lacks():
    inputs = replace(made(), canaries=None)
    entry = run_audits(inputs, Counter())["canaries"]
    assert (entry["status"], entry["why"]) == ("n/a", "10 canaries are needed, there are 0 (pretrain.canaries)")
