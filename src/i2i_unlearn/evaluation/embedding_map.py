"""A t-SNE map of what the encoders make of the images: where do forget images go when the encoder forgets?

The student starts from the teacher and shares its decoder, so their embeddings E(T(x)) live in one space; a reference
has its own and is left out. van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008).
Shape letters: B batch, N tokens or points, D embedding size.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.evaluation.shown import EmbeddingMap
from i2i_unlearn.models.base import Embedding

NUM_IMAGES = 100
"""Of each set: 800 points with four sets and two models, a map in some seconds."""
_FEWEST_POINTS = 20
_PERPLEXITY = 30.0  # scikit-learn's and the paper's usual value
_MODELS = ("teacher", "unlearned")


class EmbeddingCollector:
    """Embeds some images of each set with teacher and unlearned model."""

    def __init__(self, models: Mapping[str, Any], device: torch.device) -> None:
        self._models = {name: models[name] for name in _MODELS}
        self._device = device
        self._vectors: list[Tensor] = []
        self._labels: list[tuple[str, str]] = []
        self._num_images = 0

    @torch.inference_mode()
    def see(self, set_name: str, seen: Seen, chosen: list[int]) -> None:
        """Embed the images at places `chosen` of the batch."""
        if not chosen:
            return
        images, visible = seen.images_BCHW[chosen].to(self._device), seen.visible_BHW[chosen].to(self._device)
        for name, model in self._models.items():
            self._vectors.append(pooled(model.encode(images, visible)).cpu())
            self._labels += [(name, set_name)] * len(chosen)
        self._num_images += len(chosen)

    def map(self, seed: int) -> EmbeddingMap | None:
        """Points in the plane; None where there are too few."""
        if len(self._labels) < _FEWEST_POINTS:
            return None
        from sklearn.manifold import TSNE

        vectors_ND = torch.cat(self._vectors).float().numpy()
        perplexity = min(_PERPLEXITY, (len(vectors_ND) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32, max_iter=500)
        return EmbeddingMap(
            caption=f"t-SNE of the encoders' embeddings E(T(x)), mean over tokens, of {self._num_images} images "
            "by original and unlearned model.",
            points_N2=np.asarray(tsne.fit_transform(vectors_ND), dtype=np.float32),
            models=[model for model, _ in self._labels],
            sets=[set_name for _, set_name in self._labels],
        )


def pooled(embedding: Embedding) -> Tensor:
    """Means over tokens or places (B, D), of all maps side by side. Padding does not count."""
    columns = []
    for feature in embedding.maps:
        if embedding.valid_BN is not None:
            valid_BN1 = embedding.valid_BN.unsqueeze(2)
            columns.append((feature * valid_BN1).sum(1) / valid_BN1.sum(1))
        elif feature.ndim == 4:  # noqa: PLR2004  (B, D, H, W)
            columns.append(feature.mean((2, 3)))
        else:
            columns.append(feature.mean(1) if feature.ndim == 3 else feature)  # noqa: PLR2004  (B, N, D)
    return torch.cat(columns, 1)
