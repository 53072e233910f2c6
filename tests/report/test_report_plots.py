import re

from i2i_unlearn.report.plots import loss_plot, score_plot


def texts(drawing):
    return [text.strip() for text in re.findall(r"<text[^>]*>(.*?)</text>", drawing, re.DOTALL)]


def test_terms_are_drawn_and_what_is_no_loss_is_not():
    steps = [
        {"step": step, "phase": "unlearn", "learning_rate": 0.1, "grad_norm": 9.0, "total": 2.0 / step, "retain": 1.0}
        for step in (1, 2, 3)
    ]
    words = texts(loss_plot(steps))
    assert {"total", "retain", "step", "loss"} <= set(words)
    assert not {"phase", "learning_rate", "grad_norm"} & set(words)


def test_a_term_that_begins_at_zero_and_one_a_hundred_times_larger_are_both_seen():
    words = texts(loss_plot([{"step": 1, "retain": 0.0, "forget": 1.0}, {"step": 2, "retain": 0.01, "forget": 0.9}]))
    assert "0.01" in words  # a logarithmic axis


def test_negative_losses_have_a_linear_axis():
    drawing = loss_plot([{"step": 1, "total": -0.001}, {"step": 2, "total": -8.0}])
    assert "−8" in texts(drawing)


def test_a_term_that_only_some_steps_have_is_drawn():
    steps = [{"step": step, "ascent" if step < 3 else "repair": float(step)} for step in (1, 2, 3, 4)]
    assert {"ascent", "repair"} <= set(texts(loss_plot(steps)))


def test_one_step_is_no_curve():
    assert loss_plot([{"step": 1, "total": 1.0}]) is None
    assert loss_plot([]) is None


def test_long_curves_are_thinned_and_keep_their_last_point():
    steps = [{"step": step, "total": 1.0 + (step == 10_001)} for step in range(1, 10_002)]
    drawing = loss_plot(steps)
    assert len(drawing) < 60_000
    assert "2.0" in texts(drawing)  # the jump of the last step is on the axis


def test_a_metric_that_was_not_measured_has_no_drawing(made):
    assert score_plot(made.made_metrics(), "something_else") is None


def test_sets_without_images_have_no_row(made):
    metrics = made.made_metrics()
    for scores in metrics["scores"].values():
        del scores["forget_holdout"]
    words = texts(score_plot(metrics))
    assert "Forget" in words
    assert "Forget, unseen" not in words
