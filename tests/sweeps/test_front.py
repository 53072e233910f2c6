"""The front of points with costs: values by hand, and the laws that make it a front."""

import itertools
import random

import pytest

from i2i_unlearn.sweeps.front import dominates, on_front


@pytest.mark.parametrize(
    ("points", "front"),
    [
        # By hand: the second is beaten by the first in both costs; the third costs more and forgets more.
        ([(-1.0, 0.1), (-0.5, 0.2), (-3.0, 0.4), (-3.0, 0.5), (0.0, 0.0)], [True, False, True, False, True]),
        ([], []),
        ([(5.0, 5.0)], [True]),
        ([(1.0, 2.0), (1.0, 2.0)], [True, True]),  # equal costs
        ([(1.0, 2.0), (1.0, 2.0), (1.0, 1.0)], [False, False, True]),
        ([(1.0, 2.0), (1.0, 3.0)], [True, False]),  # a tie in one, a loss in the other
        ([(-9.0, None), (0.0, 0.0)], [False, True]),  # not measured
        ([(-9.0, float("nan")), (0.0, 0.0)], [False, True]),
        ([(1, 1, 2), (1, 1, 1), (0, 9, 9)], [False, True, True]),  # three costs
    ],
)
def test_the_front_by_hand_with_ties_gaps_and_more_costs(points, front):
    assert on_front(points) == front


def random_points(seed: int, num: int = 40) -> list[tuple[float, float]]:
    """On a small grid, so that there are ties."""
    rng = random.Random(seed)
    return [(float(rng.randint(0, 9)), float(rng.randint(0, 9))) for _ in range(num)]


@pytest.mark.parametrize("seed", range(5))
def test_nobody_on_the_front_is_dominated_and_everybody_else_is_by_somebody_on_it(seed):
    points = random_points(seed)
    flags = on_front(points)
    front = [point for point, is_on in zip(points, flags, strict=True) if is_on]
    assert front
    assert not [pair for pair in itertools.product(front, points) if dominates(pair[1], pair[0])]
    for point, is_on in zip(points, flags, strict=True):
        assert is_on or any(dominates(best, point) for best in front)


@pytest.mark.parametrize("seed", range(5))
def test_neither_order_nor_beaten_points_nor_the_axes_scale_matter(seed):
    points = random_points(seed)
    flags = on_front(points)
    expected = dict(zip(points, flags, strict=True))
    beaten = flags.index(False)
    assert on_front(points[:beaten] + points[beaten + 1 :]) == flags[:beaten] + flags[beaten + 1 :]
    assert on_front([(10 * a - 3, b**3) for a, b in points]) == flags
    random.Random(seed + 100).shuffle(points)
    assert dict(zip(points, on_front(points), strict=True)) == expected
