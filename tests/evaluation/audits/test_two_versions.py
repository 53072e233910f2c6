"""Two versions, and membership of the images to keep, of models whose losses are known."""

import numpy as np
import pytest

from i2i_unlearn.evaluation.audits.membership import AUDIT as MEMBERSHIP
from i2i_unlearn.evaluation.audits.retain_membership import AUDIT as RETAIN_MEMBERSHIP
from i2i_unlearn.evaluation.audits.run import run_audits
from i2i_unlearn.evaluation.audits.two_versions import AUDIT
from tests.evaluation.audits.guilty import Counter
from tests.evaluation.audits.made import told

NUM = {"forget": 10, "retain": 12, "forget_holdout": 11, "retain_holdout": 13}


def losses(**factors):
    """The losses of before times a factor by set."""
    rng = np.random.default_rng(0)
    return {name: rng.uniform(1, 2, num) * factors.get(name, 1.0) for name, num in NUM.items()}


def values(attacked, model):
    return {name: draws.value for name, draws in attacked.measures[model].items()}


def test_what_moved_tells_the_sets_apart_in_the_right_direction():
    models = {"teacher": losses(), "unlearned": losses(forget=2.0, retain=0.5), "reference": losses(forget=2.0)}
    found = AUDIT.attack(told(models), Counter())
    never = {"auc_forget_never_seen": 0.5, "auc_forget_retain": 0.5, "auc_retain_never_seen": 0.5}
    assert values(found, "teacher") == never
    assert values(found, "unlearned") == {**never, "auc_forget_never_seen": 1, "auc_forget_retain": 1} | {
        "auc_retain_never_seen": 0
    }
    assert values(found, "reference") == {**never, "auc_forget_never_seen": 1, "auc_forget_retain": 1}


def test_an_auc_by_hand():
    # log after - log before: forget log 2 and 0 (five of each), never seen all 0: half won, half equal.
    after = losses()
    after["forget"] = after["forget"] * np.repeat([2.0, 1.0], 5)
    found = AUDIT.attack(told({"teacher": losses(), "unlearned": after}), Counter())
    assert values(found, "unlearned")["auc_forget_never_seen"] == 0.75


def test_too_few_images_to_keep_leave_the_other_comparison():
    few = {model: {**losses(), "retain": np.ones(1)} for model in ("teacher", "unlearned")}
    assert set(values(AUDIT.attack(told(few), Counter()), "unlearned")) == {"auc_forget_never_seen"}


@pytest.mark.parametrize("name", ["two_versions", "membership"])
def test_one_image_is_not_enough(name):
    one = {model: {**losses(), "forget": np.ones(1)} for model in ("teacher", "unlearned")}
    inputs = told(one)
    entry = run_audits(_running(inputs, name), Counter())[name]
    assert (entry["status"], entry["why"]) == ("n/a", "10 images of forget are needed, there are 1")


def _running(inputs, *names):
    object.__setattr__(inputs, "settings", inputs.settings.model_copy(update={"run": list(names)}))
    return inputs


def test_kept_images_that_became_easier_are_found():
    models = {"teacher": losses(), "unlearned": losses(retain=0.1), "reference": losses()}
    entry = run_audits(_running(told(models), "retain_membership"), Counter())["retain_membership"]
    assert entry["models"]["unlearned"]["auc_loss"]["value"] == 1.0
    assert entry["differences"]["unlearned-teacher"]["auc_loss"]["low"] > 0
    assert entry["differences"]["reference-teacher"]["auc_loss"]["value"] == 0
    assert entry["status"] == "measured"


def test_losses_of_the_same_images_are_worked_out_once():
    inputs = told({"teacher": losses(), "unlearned": losses(), "reference": losses()})
    names = ("membership", "two_versions", "retain_membership")
    counter = Counter()
    run_audits(_running(inputs, *names), counter)
    # Of each image a loss and, of forget and never-seen ones, a completion; the first of each set twice, to see whether
    # anything is random. Retain is not completed.
    once = sum(NUM.values()) + NUM["forget"] + NUM["forget_holdout"]
    twice = once
    for model in inputs.models.values():
        assert sum(model.calls) == once + twice
    assert counter.units.total() == sum(audit.units(inputs) for audit in (AUDIT, RETAIN_MEMBERSHIP, MEMBERSHIP))
