from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.method.objectives.retain_finetune import retain_finetune


def test_the_step_by_hand(written_model, pixels, state_of):
    # D(E(x)) = 3 x, loss = 4 x^2: mean(4, 16) = 10; d/dw = 4 x^2, d/dv = 2 (2 x) (3 x) = 12 x^2: mean(12, 48) = 30.
    model, objective = written_model(w=3.0), retain_finetune(Settings(alpha=0.5))
    terms = objective.terms({"retain": pixels(1.0, 2.0)}, model, None, state_of())
    assert objective.backward(terms, [], state_of()).item() == 10.0
    assert (model.w.grad.item(), model.v.grad.item()) == (10.0, 30.0)


def test_alpha_has_no_meaning(tiny_model, batches_of, state_of):
    found = [
        retain_finetune(Settings(alpha=alpha)).terms(
            {"retain": batches_of()["retain"]}, tiny_model(1), None, state_of()
        )["retain"]
        for alpha in (0.0, 7.0)
    ]
    assert found[0].equal(found[1])
