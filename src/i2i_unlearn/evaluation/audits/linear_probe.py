"""Linear probe: do the encoder's embeddings still mark forget images apart from never-trained ones?

A logistic regression on the embeddings E(T(x)) is trained to tell forget images from never-trained ones, and judged on
images it was not trained on (Alain and Bengio, "Understanding intermediate layers using linear classifier probes",
arXiv:1610.01644). Of each feature map it sees the mean over tokens or places of every channel, standardised.

    auc   area under the ROC curve of the held-out images' scores; within each fold, then the mean over folds weighted
          by pairs, since scores of different folds are on different scales (Airola et al., Pattern Recognition
          Letters 2011)

It must find memory, not what the images show, so the never-trained images are those held out of what the request
selects. If there are too few, images held out of those to keep take their place. A probe then reads the class off the
embeddings of any model (the facts say so), and only a comparison with the reference means anything.

Intervals are over images, with the probes as trained; they do not cover other folds.

Shape letters: N members (forget images), P others, B batch, D channels of all maps, F folds.
"""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.two_sets import Statistic, auc, resample
from i2i_unlearn.evaluation.embedding_map import pooled
from i2i_unlearn.evaluation.metrics.bootstrap import Floats
from i2i_unlearn.support.progress import Advance

NUM_FOLDS = 5
STRENGTH = 0.01
"""Inverse of the L2 penalty. There are about as many channels as images: a weak penalty learns the images by heart and
finds less."""

Folds = NDArray[np.int64]


class LinearProbe:
    """Meets base.Audit."""

    name = "linear_probe"
    question = "Does the inner code that the model makes of an image still show that it was trained on it?"
    measure = "auc"
    innocent = 0.5
    sets = ("forget", "never_trained")
    min_images = 50  # ten of each in a fold; fewer give steps of more than a hundredth

    def units(self, inputs: AuditInputs) -> int:
        """Images of both sets, of all models."""
        _, others = inputs.never_trained(self.min_images)
        return len(inputs.models) * (len(inputs.sets["forget"]) + len(others))

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Train and judge a probe of every model, all on the same folds."""
        compared_with, others = inputs.never_trained(self.min_images)
        forget = inputs.sets["forget"]
        rng = inputs.rng("linear_probe", "folds")
        folds = (_folds(len(forget), rng), _folds(len(others), rng))
        drawn = resample(len(forget), len(others), inputs.num_draws, inputs.rng("linear_probe", "bootstrap"))
        measures, num_features = {}, 0
        for name, model in inputs.models.items():
            member_ND, other_PD = (embeddings(model, images, inputs, advance) for images in (forget, others))
            num_features = member_ND.shape[1]
            scores = held_out_scores(member_ND, other_PD, folds)
            measures[name] = {"auc": drawn.draws(auc_within_folds(scores, folds))}
        facts: dict[str, Any] = {
            "num_members": len(forget),
            "num_others": len(others),
            "num_features": num_features,
            "num_folds": NUM_FOLDS,
        }
        is_alike = inputs.is_alike(compared_with)
        if not is_alike:
            facts["confounded"] = (
                "the never-trained images are of other classes than the forget images: a probe reads the class, so"
                " only the difference to the reference says something about memory"
            )
        return Attacked(
            measures=measures,
            num_images=min(len(forget), len(others)),
            compared_with=compared_with,
            innocent_holds=is_alike,
            facts=facts,
        )


@torch.inference_mode()
def embeddings(model: Any, images: ImageSet, inputs: AuditInputs, advance: Advance) -> Floats:
    """(N, D) of a set."""
    parts = []
    for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device):
        parts.append(pooled(model.encode(images_BCHW, visible_BHW)).double().cpu().numpy())
        advance(len(images_BCHW), "linear_probe")
    return np.concatenate(parts)


def _folds(num: int, rng: np.random.Generator) -> Folds:
    """Which fold each image is in; folds are equal in size but for one image."""
    return np.asarray(rng.permutation(np.arange(num) % NUM_FOLDS), dtype=np.int64)


def held_out_scores(member_ND: Floats, other_PD: Floats, folds: tuple[Folds, Folds]) -> tuple[Floats, Floats]:
    """For each image the score of a probe that was trained on the other folds; higher = member."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.concatenate((member_ND, other_PD))
    is_member = np.arange(len(rows)) < len(member_ND)
    fold = np.concatenate(folds)
    scores = np.zeros(len(rows))
    for number in range(NUM_FOLDS):
        # Members and others count the same in total, however many there are of each.
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after 200 iterations the order of scores stands
            probe.fit(rows[fold != number], is_member[fold != number])
        scores[fold == number] = probe.decision_function(rows[fold == number])
    return scores[is_member], scores[~is_member]


def auc_within_folds(scores: tuple[Floats, Floats], folds: tuple[Folds, Folds]) -> Statistic:
    """Share of pairs of the same fold in which the member has the higher score."""
    of_fold = [auc(scores[0][folds[0] == number], scores[1][folds[1] == number]) for number in range(NUM_FOLDS)]

    def of(weights_KN: Floats, weights_KP: Floats) -> Floats:
        wins, pairs = np.zeros(len(weights_KN)), np.zeros(len(weights_KN))
        for number, statistic in enumerate(of_fold):
            members, others = weights_KN[:, folds[0] == number], weights_KP[:, folds[1] == number]
            pairs_K = members.sum(1) * others.sum(1)
            drawn = pairs_K > 0  # a draw may leave a fold without images
            wins[drawn] += pairs_K[drawn] * statistic(members[drawn], others[drawn])
            pairs += pairs_K
        return wins / pairs

    return of


AUDIT = LinearProbe()
