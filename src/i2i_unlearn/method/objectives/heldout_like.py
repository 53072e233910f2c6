"""Send the forget set to where images that were never trained on go.

The idea of ReGUn (Mirlach, Laguna, Vogt, "Reference-Guided Machine Unlearning", arXiv:2603.11210), which distils a
classifier's predictions on the forget set towards those of the original model on held-out images of the same class;
carried over to image-to-image generators by us:

    L(theta) =         mean_r || E_theta(T(x_r)) - E_0(T(x_r))    ||^2   (retain)
             + alpha * mean_f || E_theta(T(x_f)) - E_0(T(u(x_f))) ||^2   (forget)

    idea          here          meaning
    E_theta       student       encoder being unlearned; the decoder is never touched
    E_0           targets       output of the frozen encoder of the original model (the teacher)
    u(x_f)        like_unseen   the never-seen image most like x_f by the teacher's pooled embedding (nearest_image.py)
    T             visible       x_f's own drawn mask (and draws), laid over u as well: embeddings agree place by place

Images have no class here, so likeness replaces it. u is one image and not ReGUn's mean over several, which in
pixels would be a blur. The set `unseen_target` is drawn from the held-out images that no request names
(data/split/roles.py). If a class or a subject is to be forgotten, these are images of other classes or subjects, as a
retrained model would know them; the class's own held-out images would teach the student to complete it as well as ever.
If single images are, their classes are among them.
"""

from collections.abc import Mapping

from torch import Tensor

from i2i_unlearn.method.objectives.base import Batch, Objective, OnePhase, Settings, State, Targets, needed
from i2i_unlearn.method.objectives.encoder_l2 import encoder_terms
from i2i_unlearn.models.base import ImageToImage


def heldout_like(settings: Settings) -> Objective:
    """Retain the teacher's embeddings; encode forget images as the teacher encodes never-seen images like them."""

    def terms(
        batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        given = needed(targets, "heldout_like")
        return encoder_terms(batches, student, given, lambda _: given.like_unseen(batches["forget"]))

    needs = frozenset({"retain", "forget", "unseen_target"})
    return OnePhase(terms, settings.encoder_scope("heldout_like"), settings.alpha, needs)
