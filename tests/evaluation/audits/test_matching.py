"""Forget images named one by one, told from never-seen images of their own class."""

from dataclasses import replace

import numpy as np
import pytest

from i2i_unlearn.evaluation.audits.matching import all_together, by_class
from i2i_unlearn.evaluation.audits.membership import AUDIT
from i2i_unlearn.evaluation.audits.ranks import FEWEST_OF_CLASS
from i2i_unlearn.evaluation.audits.run import decided, lacking
from i2i_unlearn.evaluation.audits.two_sets import auc
from i2i_unlearn.evaluation.audits.two_versions import AUDIT as TWO_VERSIONS
from tests.evaluation.audits.guilty import Counter
from tests.evaluation.audits.made import told

ENOUGH = FEWEST_OF_CLASS


def once(num, others):
    return np.ones((1, num)), np.ones((1, others))


def area(matching, members, others, weights=None):
    members, others = np.array(members, dtype=float), np.array(others, dtype=float)
    return matching.auc(members, others)(*(weights or once(len(members), len(others))))[0]


def labels(**counts):
    return np.repeat(list(counts), list(counts.values()))


def test_members_are_compared_with_their_own_class():
    # a: 1.5 beats half of (1, 2); b: 9 beats none of (10, 20) but all of a's
    matching = by_class(labels(a=1, b=1), labels(a=ENOUGH, b=ENOUGH))
    others = [1, 2] * (ENOUGH // 2) + [10, 20] * (ENOUGH // 2)
    assert area(matching, [1.5, 9], others) == pytest.approx((0.5 + 0) / 2)
    assert area(all_together(2, len(others)), [1.5, 9], others) == pytest.approx((0.25 + 0.5) / 2)
    assert matching.pooled == 0


def test_a_member_drawn_twice_counts_twice_and_a_class_not_drawn_says_nothing():
    matching = by_class(labels(a=1, b=1), labels(a=ENOUGH, b=ENOUGH))
    others = [1] * ENOUGH + [10] * ENOUGH
    every = np.ones((1, 2 * ENOUGH))
    assert area(matching, [2, 9], others, (np.array([[2.0, 1.0]]), every)) == pytest.approx((2 * 1 + 0) / 3)
    only_b = np.repeat([[0.0, 1.0]], ENOUGH, 1).reshape(1, -1)
    assert area(matching, [2, 9], others, (np.array([[1.0, 1.0]]), only_b)) == pytest.approx((0.5 + 0) / 2)


def test_a_class_with_too_few_is_compared_with_all_and_one_class_gives_the_plain_area():
    matching = by_class(labels(a=1, b=2), labels(a=ENOUGH, b=ENOUGH - 1))
    assert matching.pooled == 2
    others = np.arange(2 * ENOUGH - 1)
    assert area(matching, [0, 1e9, -1], others) == pytest.approx((0.5 / ENOUGH + 1 + 0) / 3)
    members, others = np.random.default_rng(0).normal(size=7), np.random.default_rng(1).normal(size=60)
    plain = auc(members, others)(*once(7, 60))[0]
    assert area(by_class(labels(a=7), labels(a=60)), members, others) == plain
    assert area(by_class(labels(a=7), labels(b=60)), members, others) == plain


DIFFICULTY = {"a": 1.0, "b": 4.0}
FORGET, HELD_OUT = labels(a=9, b=3), labels(a=60, b=300)


def models(num_references=0, remembered=0.5):
    """Class b is far more difficult, and much rarer among forget images than among the others."""

    def losses(seed, factor=1.0):
        rng = np.random.default_rng(seed)
        of = {"forget": FORGET, "forget_holdout": FORGET[:2], "retain_holdout": HELD_OUT, "retain": HELD_OUT[:20]}
        found = {
            name: np.array([DIFFICULTY[one] for one in classes]) * np.exp(rng.normal(0, 0.05, len(classes)))
            for name, classes in of.items()
        }
        return {**found, "forget": found["forget"] * factor}

    made = {"teacher": losses(1, remembered), "unlearned": losses(2)}
    return made | {name: losses(3 + k) for k, name in enumerate(["reference", "reference_2"][:num_references])}


def one_by_one(made, *, single_images=True):
    classes = {"forget": FORGET, "forget_holdout": FORGET[:2], "retain_holdout": HELD_OUT, "retain": HELD_OUT[:20]}
    return replace(told(made), labels=classes, one_by_one=True, single_images=single_images)


def test_both_never_seen_sets_are_pooled_and_difficulty_of_classes_is_no_memory():
    inputs = one_by_one(models())
    counter = Counter()
    found = AUDIT.attack(inputs, counter)
    assert counter.units.total() == AUDIT.units(inputs)
    assert (found.compared_with, found.facts["num_others"]) == ("never_seen", 2 + len(HELD_OUT))
    innocent = found.measures["unlearned"]["auc_loss"]
    assert np.quantile(innocent.samples_K, 0.025) < 0.5 < np.quantile(innocent.samples_K, 0.975)
    assert found.measures["teacher"]["auc_loss"].value == 1.0
    assert decided(AUDIT, found)[:2] == ("auc_loss", "measured")
    plain = AUDIT.attack(replace(inputs, one_by_one=False), Counter()).measures
    assert plain["unlearned"]["auc_loss"].value > 0.7  # the mix of classes looks like memory


def test_of_other_kinds_chance_is_not_innocent():
    assert not AUDIT.attack(one_by_one(models(), single_images=False), Counter()).innocent_holds


def test_of_other_kinds_enough_held_out_images_that_the_request_names_are_compared_with_alone():
    made = {name: {**sets, "forget_holdout": sets["retain_holdout"][:10]} for name, sets in models().items()}
    classes = {"forget": FORGET, "forget_holdout": HELD_OUT[:10], "retain_holdout": HELD_OUT, "retain": HELD_OUT[:20]}
    inputs = replace(told(made), labels=classes, one_by_one=True)
    found = AUDIT.attack(inputs, Counter())
    assert (found.compared_with, found.innocent_holds, found.facts["num_others"]) == ("forget_holdout", True, 10)
    found = AUDIT.attack(replace(inputs, single_images=True), Counter())
    assert (found.compared_with, found.innocent_holds) == ("never_seen", True)
    assert found.facts["num_others"] == 10 + len(HELD_OUT)


def test_two_versions_compares_class_by_class_too():
    made = models(remembered=1.0)
    made["unlearned"] = {**made["teacher"], "forget": made["teacher"]["forget"] * 2}
    inputs = one_by_one(made)
    counter = Counter()
    found = TWO_VERSIONS.attack(inputs, counter)
    assert counter.units.total() == TWO_VERSIONS.units(inputs)
    assert found.measures["unlearned"]["auc_forget_never_seen"].value == 1.0
    assert found.facts["num_never_seen"] == 2 + len(HELD_OUT)


def test_never_seen_images_of_both_sets_count_towards_what_an_audit_needs():
    made = {name: {of: losses[:7] for of, losses in sets.items()} for name, sets in models().items()}
    few = {"forget": 12, "forget_holdout": 2, "retain_holdout": 7}
    made = {name: sets | {"forget": models()[name]["forget"]} for name, sets in made.items()}
    inputs = replace(told(made), one_by_one=True)
    assert lacking(AUDIT, inputs) == (
        f"10 images of forget_holdout and retain_holdout are needed, there are {few['forget_holdout'] + 7}"
    )
