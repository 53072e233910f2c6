import pytest
import torch

from i2i_unlearn.method.objectives.base import Batch, Phase, Settings, State, join_masks
from i2i_unlearn.method.objectives.encoder_l2 import encoder_l2, squared_distances
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.operators import make_operator

STATE = State(0, Phase("unlearn", 1), {})


def of(*values):
    """An embedding of one token and one channel for each image."""
    return Embedding((torch.tensor(values).view(-1, 1, 1),))


class Given:
    """Targets that are written down."""

    def __init__(self, retain, noise):
        self.of_images, self.of_noise = lambda name, batch: retain, lambda batch: noise


def batch(num, *, operator="center_hole", seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(num, 1, 16, 16, generator=generator) * 2 - 1
    return Batch(images, make_operator(operator, 0.75, 4).draw(num, 16, 16, generator), torch.arange(num), 0)


def test_value_by_hand():
    # retain = (2 - 1)^2 = 1; forget = mean((2 - 3)^2, (5 - 2)^2) = 5.
    terms = squared_distances(of(2.0), of(1.0), of(2.0, 5.0), of(3.0, 2.0))
    assert {name: term.item() for name, term in terms.items()} == {"retain": 1.0, "forget": 5.0}


def test_the_total_by_hand():
    # 1 + 0.5 * 5
    parameter = torch.nn.Parameter(torch.zeros(()))
    terms = {"retain": parameter + 1, "forget": 3 * parameter + 5}
    assert encoder_l2(Settings(alpha=0.5)).backward(terms, [parameter], STATE).item() == 3.5
    assert parameter.grad.item() == 1 + 0.5 * 3


@pytest.mark.parametrize("repeats", [2, 7])
def test_repeating_images_of_one_set_changes_nothing(repeats):
    # alpha means the same whatever the ratio of retain to forget images.
    once = squared_distances(of(2.0, 4.0), of(1.0, 1.0), of(2.0, 5.0), of(3.0, 2.0))
    more_retain = squared_distances(of(*[2.0, 4.0] * repeats), of(*[1.0] * 2 * repeats), of(2.0, 5.0), of(3.0, 2.0))
    more_forget = squared_distances(of(2.0, 4.0), of(1.0, 1.0), of(*[2.0, 5.0] * repeats), of(*[3.0, 2.0] * repeats))
    assert once == more_retain == more_forget


@pytest.mark.parametrize("operator", ["center_hole", "random_patches", "free_form"])
@pytest.mark.parametrize(("num_retain", "num_forget"), [(4, 4), (2, 6), (6, 1)])
def test_both_sets_in_one_pass_give_the_terms_of_each_alone(tiny_model, operator, num_retain, num_forget):
    student, teacher = tiny_model(1), tiny_model(2)
    retain, forget = batch(num_retain, operator=operator), batch(num_forget, operator=operator, seed=1)
    with torch.no_grad():
        retain_target = teacher.encode(retain.images_BCHW, retain.visible_BHW)
        forget_target = teacher.encode(torch.randn(forget.images_BCHW.shape), forget.visible_BHW)
        alone = squared_distances(
            student.encode(retain.images_BCHW, retain.visible_BHW),
            retain_target,
            student.encode(forget.images_BCHW, forget.visible_BHW),
            forget_target,
        )
    batches = {"retain": retain, "forget": forget}
    terms = encoder_l2(Settings(alpha=2.0)).terms(batches, student, Given(retain_target, forget_target), STATE)
    for name in ("retain", "forget"):
        assert terms[name].item() == pytest.approx(alone[name].item(), rel=1e-5)


def test_a_student_that_is_the_teacher_has_nothing_to_retain(tiny_model):
    model = tiny_model()
    retain, forget = batch(4), batch(4, seed=1)
    with torch.no_grad():
        target = model.encode(retain.images_BCHW, retain.visible_BHW)
    terms = encoder_l2(Settings(alpha=2.0)).terms(
        {"retain": retain, "forget": forget}, model, Given(target, target), STATE
    )
    assert terms["retain"].item() < 1e-12
    assert terms["forget"].item() > 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.25, 3.0])
def test_the_gradient_is_that_of_retain_plus_alpha_times_forget(tiny_model, alpha):
    student, teacher = tiny_model(1), tiny_model(2)
    batches = {"retain": batch(3), "forget": batch(5, seed=1)}
    with torch.no_grad():
        targets = Given(
            teacher.encode(batches["retain"].images_BCHW, batches["retain"].visible_BHW),
            teacher.encode(batches["forget"].images_BCHW, batches["forget"].visible_BHW),
        )
    parameters = [parameter for _, parameter in student.encoder_parameters()]
    objective = encoder_l2(Settings(alpha=alpha))

    def gradients(weights):
        terms = objective.terms(batches, student, targets, STATE)
        total = sum(weight * terms[name] for name, weight in weights.items())
        return torch.autograd.grad(total, parameters)

    terms = objective.terms(batches, student, targets, STATE)
    total = objective.backward(terms, parameters, STATE)
    assert total.item() == pytest.approx(terms["retain"].item() + alpha * terms["forget"].item())
    retain, forget = gradients({"retain": 1.0}), gradients({"forget": 1.0})
    for parameter, of_retain, of_forget in zip(parameters, retain, forget, strict=True):
        assert torch.allclose(parameter.grad, of_retain + alpha * of_forget, rtol=1e-3, atol=1e-6)


def test_a_mask_that_both_sets_share_stays_one_mask():
    hole, half = make_operator("center_hole", 0.75, 4), make_operator("half_left", 0.75, 4)
    one, two = hole.draw(2, 16, 16, None), hole.draw(3, 16, 16, None)
    joined = join_masks([one, two])
    assert joined.stride(0) == 0
    assert joined.equal(torch.cat((one, two)))
    different = join_masks([one, half.draw(3, 16, 16, None)])
    assert different.stride(0) != 0
    assert different[:2].equal(one)
