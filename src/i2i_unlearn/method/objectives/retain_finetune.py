"""Baseline: only continue training on the retain set, and let forgetting come by itself (catastrophic forgetting).

A baseline of Li, Hsu, Chen, Marculescu, ICLR 2024, arXiv:2402.00351, sec. 5, and of most work on unlearning.

    L(theta) = mean_r loss_theta(x_r)   (retain)

    paper     here            meaning
    loss      training_loss   the family's own loss of the image that D(E(T(x))) is to be (models/base.py)
    theta     student         all weights: the training of the original continues

No forget image is read, and alpha has no meaning.
"""

from collections.abc import Mapping

from torch import Tensor

from i2i_unlearn.method.objectives.base import Batch, Objective, OnePhase, Settings, State, Targets, own_loss
from i2i_unlearn.models.base import ImageToImage


def retain_finetune(settings: Settings) -> Objective:
    """Ordinary training without the forget set."""

    def terms(
        batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        return {"retain": own_loss(student, batches["retain"], seed=settings.seed, state=state).mean()}

    return OnePhase(terms, settings.scope_or("all"), settings.alpha, frozenset({"retain"}), "finetune")
