"""What is said of an audit: measured, blind or not applicable."""

import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits import membership, run
from i2i_unlearn.evaluation.audits.base import Attacked, CanaryImages
from i2i_unlearn.evaluation.audits.rank_shift import FEWEST
from i2i_unlearn.evaluation.audits.table import AUDITS, Entry, Measure
from i2i_unlearn.evaluation.metrics.bootstrap import Draws
from i2i_unlearn.support.errors import UserError
from tests.evaluation.audits.guilty import Counter, blocks, digest, image_set, inputs_of, known, make


def draws(value, spread=0.1):
    """95 % of the samples lie within `spread` of the value."""
    return Draws(value, value + spread * np.linspace(-1.05, 1.05, 201))


@dataclass(frozen=True)
class Made:
    """An audit that finds what it is told."""

    name: str = "made"
    question: str = "Is it?"
    measure: str = "auc"
    innocent: float | None = 0.5
    sets: tuple[str, ...] = ("forget", "never_trained")
    min_images: int = 20

    def units(self, inputs):
        return 7

    def attack(self, inputs, advance):
        advance(7)
        return attacked(teacher=draws(0.8))


def attacked(innocent_holds=True, **models):
    return Attacked(
        measures={name: {"auc": found} for name, found in models.items()}, num_images=20, innocent_holds=innocent_holds
    )


@pytest.fixture
def made(monkeypatch):
    """The audit is in the table."""
    monkeypatch.setitem(
        AUDITS,
        "made",
        Entry(module="tests.evaluation.audits.test_run", title="Made", measures={"auc": Measure("AUC", "", 3)}),
    )


AUDIT = Made()


def inputs(num_forget=30, num_holdout=30, **settings):
    sets = {"forget": blocks(num_forget, 1), "forget_holdout": blocks(num_holdout, 2)}
    return inputs_of({}, sets, **{"run": ["made"], **settings})


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (attacked(teacher=draws(0.8)), "measured", "an innocent one's 0.5"),
        (attacked(teacher=draws(0.55)), "blind", "which is not all above 0.5, the value of a model that never saw"),
        (attacked(teacher=Draws(0.9, None)), "blind", r"0.9 \(no interval\)"),
        (attacked(teacher=draws(0.8), reference=draws(0.5, 0)), "measured", "reference and original model differ by"),
        (attacked(teacher=draws(0.8), reference=draws(0.75, 0)), "blind", "which is not all below 0"),
        # Forget images that are hard by themselves: no guilt, however far from one half.
        (attacked(teacher=draws(0.3, 0)), "blind", "not all above 0.5"),
        (attacked(False, teacher=draws(0.3, 0), reference=draws(0.6, 0)), "blind", "does not find the original guilt"),
        # Of other classes: 0.5 is nobody's value, the reference tells.
        (attacked(False, teacher=draws(0.55), reference=draws(0.2, 0)), "measured", "differ by -0.35"),
        (attacked(False, teacher=draws(0.9)), "n/a", "says nothing without a reference"),
        (attacked(unlearned=draws(0.5), teacher=draws(0.9), reference=draws(0.9)), "blind", "not all below 0"),
    ],
)
def test_a_status_by_hand(found, status, words):
    said, why = run.judge(AUDIT, found)
    assert said == status
    assert re.search(words, why)


def test_an_audit_that_only_the_reference_can_tell_needs_one():
    only_reference = replace(AUDIT, innocent=None)
    assert run.judge(only_reference, attacked(teacher=draws(0.8)))[0] == "n/a"
    assert run.judge(only_reference, attacked(teacher=draws(0.8), reference=draws(0.5)))[0] == "measured"


@pytest.mark.parametrize(
    ("calibrated", "loss", "decides", "status"),
    [(0.8, 0.8, "calibrated", "measured"), (0.55, 0.8, "auc", "measured"), (0.55, 0.55, "calibrated", "blind")],
)
def test_an_audit_is_blind_where_none_of_its_measures_finds_the_original(calibrated, loss, decides, status):
    measures = {"teacher": {"auc": draws(loss), "calibrated": draws(calibrated)}}
    found = Attacked(measures=measures, num_images=20, deciding=("calibrated", "auc"))
    assert run.decided(AUDIT, found)[:2] == (decides, status)


def test_with_too_few_images_it_is_not_applicable_with_both_numbers(made):
    entry = run.run_audits(inputs(num_forget=19), Counter())["made"]
    assert (entry["status"], entry["why"]) == ("n/a", "20 images of forget are needed, there are 19")
    assert entry["models"] == entry["differences"] == entry["curves"] == entry["facts"] == {}
    assert run.units_of(inputs(num_forget=19)) == 0
    both = run.run_audits(inputs(19, 3), Counter())["made"]["why"]
    assert both == "20 images of forget are needed, there are 19; 20 images of retain_holdout are needed, there are 0"


def test_a_limit_on_images_is_named_where_it_is_the_reason(made):
    why = run.run_audits(inputs(num_forget=15, max_images=15), Counter())["made"]["why"]
    assert "there are 15 (as many as evaluate.audits.max_images lets in)" in why


def test_the_bar_is_as_long_as_what_is_done(made):
    counter = Counter()
    entry = run.run_audits(inputs(), counter)["made"]
    assert counter.units.total() == run.units_of(inputs()) == 7
    assert entry["status"] == "measured"
    assert entry["models"]["teacher"]["auc"]["num_images"] == 20


def test_numbers_that_are_not_finite_are_refused(made, monkeypatch):
    monkeypatch.setattr(
        type(AUDITS["made"].load()), "attack", lambda self, inputs, advance: attacked(teacher=draws(float("nan")))
    )
    with pytest.raises(UserError, match="audit made: auc of the teacher model is not finite"):
        run.run_audits(inputs(), Counter())


def test_no_audit_is_named_no_audit_is_made():
    assert run.run_audits(inputs(run=[]), Counter()) == {}


@pytest.mark.parametrize("name", AUDITS)
def test_the_table_tells_the_truth(name):
    audit = AUDITS[name].load()
    assert audit.name == name
    assert audit.measure == AUDITS[name].deciding
    assert audit.question.endswith("?")
    assert audit.min_images >= {"rank_shift": FEWEST, "linear_probe": 50, "perturbation": 50}.get(name, 10)


def test_every_audit_finds_what_the_table_says_again_and_leaves_the_models_alone(monkeypatch):
    monkeypatch.setattr(membership, "FALSE_ALARMS_NEEDED", 0)
    models = {"teacher": known().guilty, "unlearned": known().innocent, "reference": known().innocent}
    before, state = [digest(model) for model in models.values()], torch.random.get_rng_state()
    sets = {**known().sets, "retain_holdout": blocks(60, 4)}
    attacks = [name for name in AUDITS if name != "rank_shift"]  # it reads what was scored: test_rank_shift.py
    every = np.ones(20, dtype=bool)
    canaries = CanaryImages(images=image_set(blocks(20, 5)), included_N=every, tested_N=every, forgotten_N=every)
    settings = {"relearn_steps": 10, "recovery_steps": 10}
    inputs = replace(inputs_of(models, sets, run=attacks, **settings), canaries=canaries)
    counter = Counter()
    found = run.run_audits(inputs, counter)
    assert counter.units == {name: audit.load().units(inputs) for name, audit in AUDITS.items() if name in attacks}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert run.run_audits(inputs, Counter()) == found  # the same seed
    for name, entry in found.items():
        assert set(entry["models"]) == set(models)
        assert set(entry["differences"]) == {"unlearned-teacher", "unlearned-reference", "reference-teacher"}
        for measures in (*entry["models"].values(), *entry["differences"].values()):
            assert set(measures) <= set(AUDITS[name].measures)
        assert set().union(*entry["models"].values()) == set(AUDITS[name].measures)
    assert [digest(model) for model in models.values()] == before
    assert not any(part.requires_grad for model in models.values() for part in model.parameters())
    assert not any(model.training for model in models.values())
    assert torch.random.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        ("membership", "the teacher model gives numbers that are not finite on forget"),
        ("recovery", "step 1: the loss is not finite"),
        ("relearning", "step 1: the loss is not finite"),
    ],
)
def test_a_broken_model_is_told_with_the_audit(audit, words):
    broken = make()
    broken.model.vit.layernorm.weight.fill_(float("nan"))
    inputs = inputs_of({"teacher": broken}, known().sets, relearn_steps=1, recovery_steps=1)
    with pytest.raises(UserError, match=f"audit {audit}: .*{words}"):
        AUDITS[audit].load().attack(inputs, Counter())
