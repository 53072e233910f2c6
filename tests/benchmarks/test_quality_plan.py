"""Which models a benchmark trains: the grid once, the chosen settings with every seed, contenders everywhere."""

from collections import Counter

import pytest

from benchmarks.quality.plan import MAIN_STUDY, REFERENCE, RETAIN_STUDY, Plan, Selection
from benchmarks.quality.settings import load_settings
from benchmarks.quality.sources import Source

SETTINGS = load_settings()
OPERATORS = ["hole_1_2", "outpaint"]
REQUESTS = ["digit-3", "digit-8"]
SEEDS = [5, 6, 7]
CHOSEN = {("mae", name): {"objective": name, "alpha": 0.5} for name in ("encoder_l2", "max_loss")}


@pytest.fixture
def plan():
    source = Source("digits", "images", "requests", "0" * 64, dict.fromkeys(REQUESTS, "request"), "key")
    selection = Selection(
        families=["mae"],
        objectives=["encoder_l2", "max_loss"],
        operators=OPERATORS,
        requests=REQUESTS,
        seeds=SEEDS,
        device="cpu",
        chosen_on="digit-3",
    )
    return Plan(SETTINGS, source, selection)


def test_the_grid_takes_the_first_seed_and_references_take_all(plan):
    cases = plan.first_round()
    assert {case.place[1:3] for case in cases} == {("hole_1_2", "digit-3")}
    assert [case.seed for case in cases if case.model == REFERENCE] == SEEDS
    grid = [case for case in cases if case.model == "encoder_l2"]
    assert [case.setting for case in grid] == [f"alpha {value:g}" for value in SETTINGS.objectives["encoder_l2"].values]
    assert {case.seed for case in grid} == {5}


def test_chosen_settings_take_all_seeds_where_they_were_chosen_and_contenders_everywhere(plan):
    cases = [case for case in plan.second_round(CHOSEN) if case.study == MAIN_STUDY]
    count = Counter((*case.place[1:3], case.model) for case in cases)
    assert "encoder_l2" in SETTINGS.contenders
    assert "max_loss" not in SETTINGS.contenders
    assert {(o, r) for o, r, _ in count} == {("hole_1_2", "digit-3"), ("hole_1_2", "digit-8"), ("outpaint", "digit-3")}
    for place in {(o, r) for o, r, _ in count}:
        assert count[*place, "encoder_l2"] == 3
        assert count[*place, "max_loss"] == (3 if place == ("hole_1_2", "digit-3") else 1)


def test_what_stands_in_for_the_retain_set_is_tried_beside_real_images_at_several_alphas(plan):
    cases = [case for case in plan.second_round(CHOSEN) if case.study == RETAIN_STUDY and case.model == "encoder_l2"]
    tried = Counter(case.retain_images for case in cases)
    assert tried["real"] == 1
    assert {"proxy", "synthetic, prototypes", "synthetic, noise", "synthetic, proxy crops"} < set(tried)
    assert len({case.trained.content["config"]["alpha"] for case in cases if case.retain_images == "proxy"}) == 2
    assert len({(case.setting, case.retain_images) for case in cases}) == len(cases)
