from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.heldout_like import heldout_like


def test_the_step_by_hand(written_model, written_targets, pixels, state_of):
    # E(x) = 2 x. Retain x = 1, target 1: (2 - 1)^2 = 1, d/dw = 2. Forget x = 3, unseen 4: (6 - 4)^2 = 4, d/dw = 12.
    model, objective = written_model(w=2.0), heldout_like(Settings(alpha=0.5))
    batches = {"retain": pixels(1.0), "forget": pixels(3.0), "unseen_target": pixels(0.0)}
    terms = objective.terms(batches, model, written_targets(retain=[1.0], unseen=[4.0]), state_of())
    assert objective.backward(terms, [], state_of()).item() == 1 + 0.5 * 4
    assert model.w.grad.item() == 2 + 0.5 * 12
    assert model.v.grad is None


def test_other_unseen_images_give_another_target(tiny_model, batches_of, sets, targets_of, state_of):
    teacher, student = tiny_model(2), tiny_model(1)
    targets, changed = targets_of(teacher), targets_of(teacher)
    changed._images = {**sets, "unseen_target": 255 - sets["unseen_target"]}
    one, other = (
        heldout_like(Settings(alpha=1.0)).terms(batches_of(), student, given, state_of())["forget"]
        for given in (targets, changed)
    )
    assert not one.equal(other)
