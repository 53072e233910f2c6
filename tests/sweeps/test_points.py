"""Which points a sweep has."""

import pytest

from i2i_unlearn.config.sections import SweepConfig
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.sweeps.points import DIALS, point_configs, point_of, points_of
from tests.support.says import says

SECTION = {"objectives": ["encoder_l2"], "alphas": [0.1, 1.0], "epsilons": [0.5], "num_workers": 1}


def points(**changes):
    return [str(point) for point in points_of(SweepConfig(**SECTION | changes))]


def test_every_objective_meets_every_value_of_its_own_dial():
    assert points(objectives=["encoder_l2", "epsilon_constraint", "retain_finetune", "max_loss"]) == [
        "encoder_l2 alpha 0.1",
        "encoder_l2 alpha 1",
        "epsilon_constraint epsilon 0.5",
        "retain_finetune",
        "max_loss alpha 0.1",
        "max_loss alpha 1",
    ]


def test_a_run_form_sends_lines_of_text_and_what_is_named_twice_is_one_point():
    text = points(objectives="encoder_l2, max_loss, encoder_l2", alphas="0.1, 1.0, 1", epsilons="0.5")
    assert text == points(objectives=["encoder_l2", "max_loss"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alphas": "0.1, much"}, "sweep.alphas.1='much'"),
        ({"alphas": "-1"}, "sweep.alphas.0='-1'"),
        ({"epsilons": "2"}, "sweep.epsilons.0='2'"),
        ({"objectives": ""}, "sweep.objectives"),
        ({"alphas": ""}, "sweep.alphas"),
    ],
)
def test_a_wrong_value_is_named_by_its_place(changes, words):
    with says(UserError, words):
        points(**changes)


def test_a_point_is_recognised_in_the_settings_it_was_made_with(params_with):
    settings = params_with()["unlearn"]
    objectives = ["encoder_l2", "epsilon_constraint", "retain_finetune"]
    for point in points_of(SweepConfig(**SECTION | {"objectives": objectives})):
        assert point_of(settings | point.changes) == point


def test_a_point_changes_its_own_settings_and_nothing_else(tiny_settings):
    unlearn, _ = point_configs({"objective": "max_loss", "alpha": 3}, tiny_settings)
    assert (unlearn.objective, unlearn.alpha) == ("max_loss", 3.0)
    assert unlearn.num_steps == tiny_settings["unlearn"]["num_steps"]


def test_no_point_shows_forget_images_or_makes_an_audit_whatever_the_settings_say(tiny_settings):
    assert tiny_settings["evaluate"]["show_forget_images"] is True
    assert tiny_settings["evaluate"]["audits"]["run"]
    _, evaluate = point_configs({"objective": "encoder_l2"}, tiny_settings)
    assert (evaluate.show_forget_images, evaluate.audits.run) == (False, [])


@pytest.fixture
def tiny_settings(params_with):
    from i2i_unlearn.config.sections import EvaluateConfig, UnlearnConfig

    params = params_with()
    unlearn = UnlearnConfig.from_params(params).model_dump(mode="json")
    return {"unlearn": unlearn, "evaluate": EvaluateConfig.from_params(params, policies={}).model_dump(mode="json")}


def test_only_objectives_that_there_are_have_a_dial_of_their_own():
    assert set(DIALS) <= set(OBJECTIVES)
