"""Rules `shape` and `memory` by hand; `bounds` and `relative` are in test_gate.py."""

import pytest

from i2i_unlearn.evaluation.policy import Line
from i2i_unlearn.evaluation.rules import decide


def found(value, low, high):
    return {"value": value, "low": low, "high": high}


def line(rule, metric, **more):
    return Line.model_validate(
        {
            "name": "a line",
            "measure": {"audit": "rank_shift", "model": "unlearned", "metric": metric},
            "rule": rule,
            "if_below": "it is too low",
            "if_above": "it is too high",
            "why": "because",
            **more,
        }
    )


SHAPE = line("shape", "contrast_shift", at_least=-0.1, at_most=0.1, fails_beyond=0.05)
MEMORY = line("memory", "error_shift", at_least=0, at_most=0)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ((-0.22, -0.28, -0.16), "fail"),
        ((0.08, 0.01, 0.15), "fail"),
        ((-0.041, -0.063, -0.020), "pass"),  # certain, but small
        ((-0.05, -0.09, -0.01), "pass"),  # exactly at the number is not beyond it
        ((-0.02, -0.09, 0.05), "pass"),
        ((-0.04, -0.12, -0.01), "undecided"),  # small, but perhaps beyond the bound
        ((-0.06, -0.13, 0.01), "undecided"),  # large, but perhaps nothing
        ((0.0, 0.0, 0.0), "pass"),
    ],
)
def test_a_shape_fails_where_it_moved_for_certain_and_visibly(shift, expected):
    assert decide(SHAPE, found(*shift), {})[0] == expected


UP, STILL, DOWN = (0.06, 0.03, 0.09), (0.01, -0.02, 0.04), (-0.06, -0.09, -0.03)
AT_CENTRE, HIGH = (0.52, 0.43, 0.61), (0.62, 0.54, 0.70)


def memory(shift, rank, *references):
    models = {"unlearned": {"error_shift": found(*shift), "error_rank": found(*rank)}}
    names = ("reference", "reference_2")
    for name, (of_shift, of_rank) in zip(names, references, strict=False):
        models[name] = {"error_shift": found(*of_shift), "error_rank": found(*of_rank)}
    return decide(MEMORY, models["unlearned"]["error_shift"], {"models": models})


@pytest.mark.parametrize(
    ("shift", "rank", "references", "expected"),
    [
        (UP, AT_CENTRE, [], "pass"),
        (UP, HIGH, [], "fail"),  # completed worse than images never seen
        (DOWN, AT_CENTRE, [], "fail"),
        (STILL, AT_CENTRE, [], "undecided"),  # no memory could be seen in the original
        ((0.0, 0.0, 0.0), AT_CENTRE, [], "undecided"),  # the original itself
        (UP, HIGH, [(UP, (0.60, 0.5, 0.7))], "pass"),  # its request is harder than its class: the reference is as high
        (UP, HIGH, [(UP, (0.60, 0.5, 0.7)), (UP, (0.40, 0.3, 0.5))], "fail"),  # the mean of references is .5
        (STILL, AT_CENTRE, [(STILL, AT_CENTRE)], "pass"),  # nothing to forget
        (STILL, AT_CENTRE, [(UP, AT_CENTRE)], "undecided"),  # a retrained model does move them
        ((0.0, 0.0, 0.0), AT_CENTRE, [(STILL, AT_CENTRE)], "undecided"),  # the original never passes
        (DOWN, AT_CENTRE, [(STILL, AT_CENTRE)], "fail"),
    ],
)
def test_memory_is_gone_where_the_rank_rose_and_is_not_too_high(shift, rank, references, expected):
    assert memory(shift, rank, *references)[0] == expected


def test_the_reason_tells_shift_rank_and_where_the_rank_should_be():
    outcome, why = memory(UP, HIGH)
    assert outcome == "fail"
    for words in ("shift 0.06", "0.03 to 0.09", "rank 0.62", "0.5 is as if never seen", "it is too high"):
        assert words in why
    assert "0.6 is as if never seen" in memory(UP, HIGH, (UP, (0.60, 0.5, 0.7)))[1]
