"""The family's own training loss, mean over images: what a member of the family would be judged by in training."""

from i2i_unlearn.evaluation.metrics.bootstrap import Statistic, weighted_mean
from i2i_unlearn.evaluation.metrics.observations import Observations


def statistic(seen: Observations) -> Statistic:
    """Every image counts the same."""
    return Statistic(weighted_mean(seen.own_loss_N))
