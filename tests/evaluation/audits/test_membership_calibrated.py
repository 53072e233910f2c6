"""The calibrated attack, its rates and the ranking of the worst images, on models whose losses are known."""

import numpy as np
import pytest

from i2i_unlearn.evaluation.audits import seen
from i2i_unlearn.evaluation.audits.membership import AUDIT
from i2i_unlearn.evaluation.audits.run import decided
from i2i_unlearn.evaluation.metrics.bootstrap import measured
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.models.operators import make_operator
from tests.evaluation.audits.guilty import Counter, blocks, code_of, inputs_of
from tests.evaluation.audits.made import Told, told

NUM_FORGET, NUM_OTHERS = 10, 250


def difficulties(num, seed):
    """Losses of an innocent model: images differ in difficulty far more than memory changes them."""
    return np.exp(np.random.default_rng(seed).normal(0, 2, num))


def models(num_references, num_others=NUM_OTHERS, remembered=0.5, num_forget=NUM_FORGET):
    """The original remembers all forget images, the unlearned model none."""
    forget, others = difficulties(num_forget, 1), difficulties(num_others, 2)

    def model(seed, factor=1.0):
        rng = np.random.default_rng(seed)
        noise = [np.exp(rng.normal(0, 0.1, len(values))) for values in (forget, others)]
        return {"forget": forget * noise[0] * factor, "forget_holdout": others * noise[1]}

    found = {"teacher": model(3, remembered), "unlearned": model(4)}
    names = ["reference", "reference_2", "reference_3"][:num_references]
    return found | {name: model(5 + number) for number, name in enumerate(names)}


def test_ten_images_that_one_threshold_does_not_find_are_found_by_calibration():
    found = AUDIT.attack(told(models(1)), Counter())
    of = {
        name: {key: measured(draws, 10) for key, draws in measures.items()} for name, measures in found.measures.items()
    }
    assert of["teacher"]["auc_loss"]["low"] < 0.5 < of["teacher"]["auc_calibrated"]["low"]
    assert of["teacher"]["auc_calibrated"]["value"] > 0.95
    assert of["unlearned"]["auc_calibrated"]["low"] < 0.5 < of["unlearned"]["auc_calibrated"]["high"]
    assert of["teacher"]["calibrated_excess"]["low"] > 0 > of["unlearned"]["calibrated_excess"]["low"]
    assert decided(AUDIT, found)[:2] == ("auc_calibrated", "measured")
    assert "auc_calibrated" not in of["reference"]
    assert "needs a second one" in found.facts["reference_left_out"]


def test_without_a_reference_only_the_loss_decides_and_why_is_said():
    found = AUDIT.attack(told(models(0)), Counter())
    assert decided(AUDIT, found)[:2] == ("auc_loss", "blind")
    assert "there is none" in found.facts["calibrated_left_out"]
    assert found.facts["worst_images"]["by"] == "loss"
    lowest = np.argsort(models(0)["unlearned"]["forget"])
    assert found.facts["worst_images"]["codes"] == [code_of("forget", place) for place in lowest]
    assert all("auc_calibrated" not in measures for measures in found.measures.values())


def test_excess_is_the_area_less_the_references_own():
    found = AUDIT.attack(told(models(3)), Counter()).measures
    own = [found[name]["auc_calibrated"].value for name in ("reference", "reference_2", "reference_3")]
    assert found["unlearned"]["calibrated_excess"].value == pytest.approx(
        found["unlearned"]["auc_calibrated"].value - np.mean(own)
    )
    assert all("calibrated_excess" not in found[name] for name in found if name.startswith("reference"))


def test_a_copy_of_the_only_reference_passes():
    made = models(1)
    found = AUDIT.attack(told({**made, "unlearned": made["reference"]}), Counter()).measures["unlearned"]
    assert (found["auc_calibrated"].value, found["calibrated_excess"].value) == (0.5, 0.0)


def test_a_model_that_remembers_nothing_leaves_the_audit_blind():
    assert decided(AUDIT, AUDIT.attack(told(models(1, remembered=1.0)), Counter()))[1] == "blind"


def test_the_worst_images_are_those_still_remembered():
    made = models(2)
    made["unlearned"]["forget"][[7, 2]] /= [100, 10]
    worst = AUDIT.attack(told(made), Counter()).facts["worst_images"]
    assert (worst["by"], worst["codes"][:2]) == ("calibrated", [code_of("forget", 7), code_of("forget", 2)])
    assert worst["scores"] == sorted(worst["scores"], reverse=True)
    assert len(worst["codes"]) == NUM_FORGET


def test_permuting_images_changes_no_value():
    made, order = models(2), np.random.default_rng(0).permutation(NUM_OTHERS)
    moved = {name: {**sets, "forget_holdout": sets["forget_holdout"][order]} for name, sets in made.items()}
    one, other = (AUDIT.attack(told(of), Counter()).measures for of in (made, moved))
    for name, found in one.items():
        for measure in ("auc_loss", "auc_calibrated"):
            assert found[measure].value == pytest.approx(other[name][measure].value, abs=1e-12)


def test_rates_need_ten_false_alarms_and_have_exact_intervals():
    found = AUDIT.attack(told(models(1, num_others=999)), Counter())
    assert not any(name.startswith("tpr") for name in found.measures["teacher"])
    assert found.facts["tpr_at_1pct_fpr_left_out"] == "needs 1000 never-seen images, there are 999"
    assert found.facts["tpr_at_01pct_fpr_left_out"] == "needs 10000 never-seen images, there are 999"
    found = AUDIT.attack(told(models(1, num_others=1000)), Counter())
    assert {name for name in found.measures["teacher"] if name.startswith("tpr")} == {
        f"tpr_at_1pct_fpr_{attack}" for attack in ("loss", "similarity", "calibrated")
    }
    rate = measured(found.measures["teacher"]["tpr_at_1pct_fpr_calibrated"], 10)
    threshold = found.facts["thresholds"]["teacher"]["tpr_at_1pct_fpr_calibrated"]
    assert rate["low"] < rate["value"] <= rate["high"]
    assert rate["value"] > 0.9  # halved losses against noise of a tenth
    assert threshold["false_alarms"] <= 0.01
    assert "tpr_at_1pct_fpr_left_out" not in found.facts


def facts_of(losses_N):
    """What `evaluate` saw of a set."""
    nothing = np.zeros(len(losses_N))
    return ImageFacts(
        hole_error_N=losses_N,
        reference_errors={},
        own_loss_N=losses_N,
        feature_cosine_N=nothing,
        contrast_N=nothing,
        roughness_N=nothing,
        edge_N=nothing,
    )


def test_what_evaluate_saw_of_every_scored_image_is_taken_where_nothing_is_random():
    made = models(1, num_others=500)
    audited = {name: {of: losses[:50] for of, losses in sets.items()} for name, sets in made.items()}
    inputs = told(audited)
    observed = {of: {name: facts_of(sets[of]) for name, sets in made.items()} for of in ("forget", "forget_holdout")}
    object.__setattr__(inputs, "observed", observed)
    counter = Counter()
    found = AUDIT.attack(inputs, counter)
    assert found.facts["num_others"] == 500
    assert counter.units.total() == AUDIT.units(inputs)
    tried = [model.calls for model in inputs.models.values()]
    assert tried == [[10, 10, 10, 10], [], []]  # one batch of one model, twice: is anything random?
    expected = AUDIT.attack(told(made), Counter()).measures
    for measure in ("auc_loss", "auc_calibrated"):
        assert found.measures["teacher"][measure].value == pytest.approx(expected["teacher"][measure].value)


def test_of_very_many_scored_images_some_are_taken_and_positions_tell_which(monkeypatch):
    monkeypatch.setattr(seen, "MOST_IMAGES", 5)
    made = models(1)
    inputs = told(made)
    object.__setattr__(
        inputs, "observed", {of: {name: facts_of(sets[of]) for name, sets in made.items()} for of in made["teacher"]}
    )
    losses = seen.losses_of(inputs, "teacher", "forget", Counter(), "membership")
    assert len(losses.positions_N) == 5
    assert losses.loss_N.tolist() == made["teacher"]["forget"][losses.positions_N].tolist()


def test_a_random_operator_averages_losses_over_masks():
    class Visible(Told):
        """Loses what it sees of the first pixel."""

        def training_loss(self, images_BCHW, visible_BHW, *, generator):
            return 1 + visible_BHW[:, 0, 0].float()

    operator = make_operator("random_patches", 0.5, 4)
    inputs = inputs_of({"teacher": Visible({})}, {"forget": blocks(200, 1)}, operator, num_completions=8)
    losses = seen.losses_of(inputs, "teacher", "forget", Counter(), "membership")
    assert losses.num_averaged == 8
    assert losses.loss_N.std() == pytest.approx(0.5 / 8**0.5, rel=0.25)  # of one mask: .5
