"""The real audit and the real policy on made-up answers of models that are known to be guilty, or innocent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.audits import rank_shift
from i2i_unlearn.evaluation.audits.base import AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.run import run_audits
from i2i_unlearn.evaluation.audits.table import AUDITS
from i2i_unlearn.evaluation.gate import judge, parse_policy, read_policies
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.models.operators import make_operator
from tests.evaluation.audits.guilty import SETTINGS, Counter, Pixels

POLICY = parse_policy("as_unseen", read_policies(Path(__file__).parents[3] / "mlflow/policies")["as_unseen"])
SHAPES = ("no trace in the contrast", "no trace in the roughness", "no trace at the edge")
NUM = {"forget": 10, "retain": 60, "retain_holdout": 250}
CHANCE = 0.05
"""Standard deviation of what retraining moves a number of one image by, where images differ by 1."""


def answers(seed, **shift):
    """Numbers of one model's answers by set: those of the images, moved a little by chance and by `shift` on forget."""
    images, chance = np.random.default_rng(1), np.random.default_rng(seed)
    found = {}
    for name, num in NUM.items():
        of = {key: images.normal(size=num) + CHANCE * chance.normal(size=num) for key in ("error", "a", "b", "c")}
        if name == "forget":
            of = {key: values + shift.get(key, 0.0) for key, values in of.items()}
        numbers = {
            f"{shape}_N": np.exp(of[key]) for shape, key in zip(("contrast", "roughness", "edge"), "abc", strict=True)
        }
        zeros = np.zeros(num)
        found[name] = ImageFacts(
            hole_error_N=np.exp(of["error"] - 5),
            reference_errors={},
            own_loss_N=zeros,
            feature_cosine_N=zeros,
            **numbers,
        )
    return found


MEMORY = {"error": -1.0}
"""What the original completes better of images that it was trained on."""


def inputs_of(models, *, num_forget=NUM["forget"], num_never_seen=NUM["retain_holdout"], labels=None):
    """`models`: by name, facts by set."""
    take = {"forget": num_forget, "retain": NUM["retain"], "retain_holdout": num_never_seen}
    observed = {
        name: {model: _first(facts[name], num) for model, facts in models.items()} for name, num in take.items() if num
    }
    sets = {
        name: ImageSet(images_NCHW=torch.zeros(num, 1, 1, 1), visible_NHW=torch.zeros(num, 1, 1))
        for name, num in take.items()
    }
    sets["forget_holdout"] = sets["forget"][:0]
    return AuditInputs(
        models=models,
        sets=sets,
        operator=make_operator("half_left", 0.5, 4),
        extractor=Pixels(),
        settings=SETTINGS.model_copy(update={"run": ["rank_shift"]}),
        num_draws=200,
        batch_size=8,
        seed=0,
        device=torch.device("cpu"),
        observed=observed,
        labels={name: np.full(num, "a") for name, num in take.items()} | (labels or {}),
    )


def _first(facts, num):
    columns = {key: value[:num] if isinstance(value, np.ndarray) else value for key, value in vars(facts).items()}
    return ImageFacts(**columns)


def lines(unlearned, teacher=None, **more):
    """Outcomes of the policy's lines on rank shift, and why."""
    references = {name: more.pop(name) for name in list(more) if name.startswith("reference")}
    models = {"teacher": teacher or answers(2, **MEMORY), "unlearned": unlearned, **references}
    audits = run_audits(inputs_of(models, **more), Counter())
    judged = judge({"models": dict.fromkeys(models, ""), "audits": audits}, POLICY).lines
    return {
        line.name: line
        for line in judged
        if line.measure.startswith("audit rank_shift ") and "earlier" not in line.measure
    }


def outcomes(*args, **more):
    return {name: line.outcome for name, line in lines(*args, **more).items()}


PASSED = dict.fromkeys(("no memory left", *SHAPES), "pass")


def test_a_model_that_never_saw_the_images_passes_every_line():
    assert outcomes(answers(3)) == PASSED


def test_a_copy_of_a_reference_passes_every_line():
    assert outcomes(answers(3), reference=answers(3), reference_2=answers(4)) == PASSED


def test_the_original_never_passes():
    original = answers(2, **MEMORY)
    for references in ({}, {"reference": answers(3)}, {"reference": original}):
        assert outcomes(original, original, **references)["no memory left"] == "undecided"


def test_a_model_that_still_remembers_ten_images_is_not_passed_and_one_that_remembers_more_fails():
    assert outcomes(answers(3, **MEMORY))["no memory left"] == "undecided"
    assert outcomes(answers(3, error=-2.0))["no memory left"] == "fail"


def test_a_model_that_completes_ten_images_worse_than_any_other_fails():
    assert outcomes(answers(3, error=2.0))["no memory left"] == "fail"


@pytest.mark.parametrize(("key", "name"), [("a", SHAPES[0]), ("b", SHAPES[1]), ("c", SHAPES[2])])
def test_a_model_that_answers_ten_images_flatter_smoother_or_apart_fails_that_line_alone(key, name):
    assert outcomes(answers(3, **{key: -1.5})) == {**PASSED, name: "fail"}


def test_grey_answers_fail_every_line_on_shapes():
    grey = outcomes(answers(3, a=-99.0, b=-99.0, c=-99.0))
    assert [grey[name] for name in SHAPES] == ["fail"] * 3


@pytest.mark.parametrize("num_forget", [1, 2, rank_shift.FEWEST - 1])
def test_of_fewer_than_five_images_nothing_is_said_and_nothing_fails(num_forget):
    found = lines(answers(3), num_forget=num_forget)
    assert {line.outcome for line in found.values()} == {"n/a"}
    assert f"5 images of forget are needed, there are {num_forget}" in found["no memory left"].why


def test_without_never_seen_images_nothing_is_said():
    found = lines(answers(3), num_never_seen=0)
    assert {line.outcome for line in found.values()} == {"n/a"}
    assert "there are 0" in found["no memory left"].why


def test_without_never_seen_images_of_the_class_all_are_compared_with_and_the_report_says_so():
    models = {"teacher": answers(2, **MEMORY), "unlearned": answers(3)}
    entry = run_audits(inputs_of(models, labels={"forget": np.full(NUM["forget"], "b")}), Counter())["rank_shift"]
    assert entry["facts"]["ranked_among_all_classes"] == NUM["forget"]
    assert run_audits(inputs_of(models), Counter())["rank_shift"]["facts"]["ranked_among_all_classes"] == 0


def test_a_shape_that_does_not_exist_is_not_applicable():
    def no_edge(seed, **shift):
        found = answers(seed, **shift)
        return {name: ImageFacts(**{**vars(facts), "edge_N": facts.edge_N * np.nan}) for name, facts in found.items()}

    found = lines(no_edge(3), no_edge(2, **MEMORY))
    assert {name: line.outcome for name, line in found.items()} == {**PASSED, SHAPES[2]: "n/a"}
    assert "edge_shift does not exist for these images" in found[SHAPES[2]].why


def test_a_line_is_blind_where_never_seen_images_fail_it_too():
    """One half of the never-seen images is answered otherwise, as if the model treated them in two ways."""
    odd = answers(3)
    inputs = inputs_of({"teacher": answers(2, **MEMORY), "unlearned": odd})
    one, _ = rank_shift.halves(inputs.labels["retain_holdout"], inputs.rng("rank_shift", "halves"))
    half = np.isin(np.arange(NUM["retain_holdout"]), one)
    changed = {**vars(odd["retain_holdout"]), "contrast_N": odd["retain_holdout"].contrast_N * np.where(half, 5, 1)}
    found = lines({**odd, "retain_holdout": ImageFacts(**changed)})
    assert found[SHAPES[0]].outcome == "undecided"
    assert "blind: never-seen images" in found[SHAPES[0]].why


def test_a_shape_is_blind_where_a_flat_colour_does_not_fail():
    def flat(seed, **shift):
        found = answers(seed, **shift)
        return {
            name: ImageFacts(**{**vars(facts), "contrast_N": facts.contrast_N * 0}) for name, facts in found.items()
        }

    found = lines(flat(3), flat(2, **MEMORY))  # every answer of every model is flat
    assert "blind: forget images filled with one flat colour" in found[SHAPES[0]].why


def test_the_original_before_any_request_is_compared_with_where_it_is_another_model():
    """The previous champion had forgotten already: against it nothing moves, against the original it does."""
    forgotten = answers(3)
    models = {"teacher": forgotten, "unlearned": forgotten, "original": answers(2, **MEMORY)}
    found = run_audits(inputs_of(models), Counter())["rank_shift"]["models"]
    assert found["teacher"]["error_shift"]["low"] > 0
    assert found["original"]["error_shift"]["value"] == 0


def test_kept_images_have_a_shift_of_their_own():
    models = {"teacher": answers(2, **MEMORY), "unlearned": answers(3)}
    found = run_audits(inputs_of(models), Counter())["rank_shift"]["models"]["unlearned"]
    assert set(found) == set(AUDITS["rank_shift"].measures)
    assert abs(found["retain_error_shift"]["value"]) < 0.02
    assert found["retain_error_shift"]["low"] < 0 < found["retain_error_shift"]["high"]


class Greys:
    """Answers the k-th image that it is given with the grey k / 100."""

    def complete(self, images_BCHW, visible_BHW, *, generator):
        grey_B = images_BCHW[:, 0, 0, 0] * 0 + torch.arange(len(images_BCHW)) / 100
        return torch.where(visible_BHW[:, None], images_BCHW, grey_B.view(-1, 1, 1, 1))


def test_further_never_seen_images_of_a_class_stand_for_that_class_alone():
    """Of class b two are scored: with 48 further ones its forget image is ranked among 50, those of c among all 250."""
    made = {"teacher": answers(2), "unlearned": answers(3)}
    never_seen = np.array(["b"] * 2 + ["a"] * 248)
    forget = np.array(["b", *["c"] * 9])
    inputs = inputs_of(made, labels={"forget": forget, "retain_holdout": never_seen})
    visible = make_operator("half_left", 0.5, 4).draw(48, 8, 8, torch.Generator())
    further = ImageSet(images_NCHW=torch.zeros(48, 1, 8, 8, dtype=torch.uint8), visible_NHW=visible)
    inputs = replace(
        inputs,
        models={name: Greys() for name in made},
        further=further,
        further_labels=np.full(48, "b"),
        batch_size=100,
    )
    counter = Counter()
    found = rank_shift.AUDIT.attack(inputs, counter)
    assert counter.units.total() == rank_shift.AUDIT.units(inputs)
    assert found.facts["num_never_seen"] == 298
    assert found.facts["num_further_never_seen"] == 48
    assert found.facts["ranked_among_all_classes"] == 9
    facts = made["unlearned"]
    own, scored = (np.log(facts[name].hole_error_N) for name in ("forget", "retain_holdout"))
    greys = np.log((np.arange(48) / 200 + 0.5) ** 2)  # the images are black
    expected = [np.mean(np.concatenate((scored[:2], greys)) < own[0]), *((scored < one).mean() for one in own[1:])]
    assert found.measures["unlearned"]["error_rank"].value == pytest.approx(np.mean(expected))
