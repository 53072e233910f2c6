"""Send the forget set to where images that were never trained on go.

The idea of ReGUn (Mirlach, Laguna, Vogt, "Reference-Guided Machine Unlearning", arXiv:2603.11210), which distils a
classifier's predictions on the forget set towards those of the original model on held-out images of the same class;
carried over to image-to-image generators by us:

    L(theta) =         mean_r || E_theta(T(x_r)) - E_0(T(x_r))    ||^2   (retain)
             + alpha * mean_f || E_theta(T(x_f)) - E_0(T(u(x_f))) ||^2   (forget)

    idea          here          meaning
    E_theta       student       encoder being unlearned; the decoder is never touched
    E_0           targets       what the frozen encoder of the original model (the teacher) gives
    u(x_f)        like_unseen   the never-seen image most like x_f by the teacher's pooled embedding (likeness.py)
    T             visible       x_f's own drawn mask (and draws), laid over u as well: embeddings agree place by place

Images have no class here, so likeness stands in for it. u is one image and not ReGUn's mean over several, which in
pixels would be a blur. The set `unseen_target` is drawn from the held-out images that no request names
(data/roles.py). If a class or a subject is to be forgotten, these are images of other classes or subjects, as a
retrained model would know them; the class's own held-out images would teach the student to complete it as well as ever.
If single images are, their classes are among them.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from i2i_unlearn.method.objectives.base import (
    Batch,
    Phase,
    Settings,
    State,
    Targets,
    backward_weighted,
    encode_together,
)
from i2i_unlearn.models.base import Embedding, ImageToImage


def heldout_like(
    retain: Embedding, retain_target: Embedding, forget: Embedding, unseen_target: Embedding
) -> dict[str, Tensor]:
    """The two terms, each averaged over its own set."""
    return {
        "retain": retain.squared_distance(retain_target).mean(),
        "forget": forget.squared_distance(unseen_target).mean(),
    }


class HeldoutLike:
    """Retain what the teacher encodes; encode forget images as the teacher encodes unseen images like them."""

    needs = frozenset({"retain", "forget", "unseen_target"})

    def __init__(self, settings: Settings) -> None:
        self.alpha = settings.alpha
        self.scope = settings.encoder_scope("heldout_like")

    def phases(self, num_steps: int) -> Sequence[Phase]:
        """One phase."""
        return [Phase("unlearn", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: ImageToImage, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        """Both sets go through the student in one batch."""
        if targets is None:
            raise TypeError("heldout_like needs the teacher's targets")
        retain, forget = encode_together(student, batches["retain"], batches["forget"])
        return heldout_like(
            retain,
            targets.of_images("retain", batches["retain"]),
            forget,
            targets.like_unseen(batches["forget"]),
        )

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        """Gradient of retain + alpha * forget."""
        return backward_weighted(terms, self.alpha)
