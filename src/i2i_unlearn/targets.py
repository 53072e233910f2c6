"""Teacher embeddings: recomputed, cached within a byte budget, or averaged over noise draws.

Two facts make targets cheap. The teacher is frozen, so with a fixed operator E_0(T(x)) of an image never changes: it is
computed once. And the gradient of mean ||e - E_0(T(n))||^2 with respect to e depends on n only through the expectation
of E_0(T(n)): the mean over many draws gives the same expected gradient with less variance and no teacher pass at every
step. An objective cannot tell, except by speed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from i2i_unlearn.models.base import Embedding, ImageToImage
from i2i_unlearn.noise import Noise
from i2i_unlearn.objectives.base import Batch
from i2i_unlearn.operators import Operator
from i2i_unlearn.pixels import to_float
from i2i_unlearn.randomness import generator_for

CHUNK = 128  # images in one teacher pass; fixed, so that a restarted run gets the same bits


class TeacherTargets:
    """Meets objectives.base.Targets."""

    def __init__(
        self,
        teacher: ImageToImage,
        operator: Operator,
        noise: Noise,
        images: Mapping[str, Tensor],
        *,
        seed: int,
        num_noise_draws: int,
        cache_bytes: int,
    ) -> None:
        """Prepare to serve the sets in `images` (uint8, on the device that trains).

        `num_noise_draws` 0 = fresh noise at every step; `cache_bytes` 0 = recompute at every step.
        """
        self._teacher = teacher
        self._operator = operator
        self._noise = noise
        self._images = images
        self._seed = seed
        self._num_noise_draws = num_noise_draws
        self._free_bytes = cache_bytes
        self._cache: dict[str, tuple[Tensor, ...]] = {}
        self._mean: Embedding | None = None

    @torch.no_grad()
    def of_images(self, name: str, batch: Batch) -> Embedding:
        """E_0(T(x)); from the cache where the operator is fixed, for as many rows of the set as the budget allows."""
        if not self._operator.fixed or not self._free_bytes or batch.draws:
            return self._teacher.encode(batch.images_BCHW, batch.visible_BHW, batch.draws)
        if name not in self._cache:
            self._cache[name] = self._fill(name, batch.visible_BHW[:1])
        cached = self._cache[name]
        rows_B = batch.rows_B.to(batch.images_BCHW.device)
        if bool((rows_B < len(cached[0])).all()):
            return Embedding(tuple(feature[rows_B] for feature in cached))
        return self._teacher.encode(batch.images_BCHW, batch.visible_BHW)

    @torch.no_grad()
    def of_noise(self, batch: Batch) -> Embedding:
        """E_0(T(n)), or its mean over draws where the operator is fixed."""
        if self._num_noise_draws and self._operator.fixed and not batch.draws:
            if self._mean is None:
                self._mean = self._mean_over_draws(batch)
            return self._mean
        return self._teacher.encode(self.noise_images(batch), batch.visible_BHW, batch.draws)

    def noise_images(self, batch: Batch) -> Tensor:
        """n: one for each image of the batch, on its device."""
        noise_BCHW = self._noise.draw(len(batch.rows_B), generator_for(self._seed, "noise", batch.step))
        return noise_BCHW.to(batch.images_BCHW)

    def _fill(self, name: str, visible_1HW: Tensor) -> tuple[Tensor, ...]:
        """Embeddings of the first rows of a set, as many as fit into what is left of the budget."""
        images = self._images[name]
        first = self._encode(images[:1], visible_1HW)
        per_image = sum(feature.nbytes for feature in first)
        rows = min(len(images), self._free_bytes // per_image)
        self._free_bytes -= rows * per_image
        if not rows:
            return tuple(feature[:0] for feature in first)
        chunks = [
            self._encode(images[start : min(start + CHUNK, rows)], visible_1HW) for start in range(0, rows, CHUNK)
        ]
        return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))

    def _encode(self, images: Tensor, visible_1HW: Tensor) -> tuple[Tensor, ...]:
        return self._teacher.encode(to_float(images), visible_1HW.expand(len(images), -1, -1)).maps

    def _mean_over_draws(self, batch: Batch) -> Embedding:
        generator = generator_for(self._seed, "noise mean")
        total: list[Tensor] = []
        for start in range(0, self._num_noise_draws, CHUNK):
            count = min(CHUNK, self._num_noise_draws - start)
            noise_BCHW = self._noise.draw(count, generator).to(batch.images_BCHW)
            embedding = self._teacher.encode(noise_BCHW, batch.visible_BHW[:1].expand(count, -1, -1))
            sums = [feature.sum(0, keepdim=True) for feature in embedding.maps]
            total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
        return Embedding(tuple(feature / self._num_noise_draws for feature in total))
