"""The teacher's outputs: recomputed, cached within a byte budget, or averaged over noise draws.

Two facts make targets cheap. The teacher is frozen, so with a fixed operator E_0(T(x)) of an image never changes: it is
computed once. And the gradient of mean ||e - E_0(T(n))||^2 with respect to e depends on n only through the expectation
of E_0(T(n)): the mean over many draws gives the same expected gradient with less variance and no teacher pass at every
step. An objective cannot tell, except by speed.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from i2i_unlearn.method.nearest_image import nearest, pooled
from i2i_unlearn.method.noise import Noise
from i2i_unlearn.method.objectives.base import Batch
from i2i_unlearn.method.target_cache import CHUNK, RowCache, in_chunks
from i2i_unlearn.models.base import Embedding, ImageToImage
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import drawn, generator_for, generator_of_share

FORGET, UNSEEN = "forget", "unseen_target"


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
        surrogate: Tensor | None = None,
    ) -> None:
        """Prepare to serve the sets in `images` (uint8, on the device that trains).

        `num_noise_draws` 0 = fresh noise at every step; `cache_bytes` 0 = recompute at every step; `surrogate`: where
        each forget image is sent (uint8, surrogate/targets.py).
        """
        self._teacher = teacher
        self._operator = operator
        self._noise = noise
        self._images = images
        self._seed = seed
        self._num_noise_draws = num_noise_draws
        self._cache = RowCache(cache_bytes)
        self._surrogate = surrogate
        self._mean: Embedding | None = None
        self._like: Tensor | None = None

    @torch.no_grad()
    def of_images(self, name: str, batch: Batch) -> Embedding:
        """E_0(T(x)); from the cache where the operator is fixed, for as many rows of the set as the budget allows."""
        cached = self._cached(name, batch, "embedding") if self._repeats(batch) else None
        return Embedding(cached) if cached else self._embed(batch)

    @torch.no_grad()
    def outputs(self, name: str, batch: Batch) -> Tensor:
        """D_0(E_0(T(x))): images (B, C, H, W) as the teacher paints them, not clamped; cached like `of_images`."""
        cached = self._cached(name, batch, "output") if self._repeats(batch) else None
        return cached[0] if cached else self._teacher.decode(self._embed(batch), batch.visible_BHW)

    @torch.no_grad()
    def like_unseen(self, batch: Batch) -> Embedding:
        """E_0(T(u)), u the unseen image most like each forget image, under the forget image's own mask and draws.

        Where the operator is fixed, alike is what looks alike by its visible part: the teacher then answers as it would
        if it met that part for the first time. Drawn masks would ask for a search at every step; there, whole images
        are compared, once.
        """
        rows_B = self._like_rows(batch.visible_BHW[:1])[batch.rows_B]
        unseen = self._images[UNSEEN]
        images_BCHW = to_float(unseen[rows_B.to(unseen.device)])
        return self.of_images(UNSEEN, replace(batch, images_BCHW=images_BCHW, rows_B=rows_B))

    @torch.no_grad()
    def of_noise(self, batch: Batch) -> Embedding:
        """E_0(T(n)), or its mean over draws where the operator is fixed."""
        if self._num_noise_draws and self._operator.fixed and not batch.draws:
            if self._mean is None:
                self._mean = self._mean_over_draws(batch)
            return self._mean
        return self._embed(replace(batch, images_BCHW=self.noise_images(batch)))

    def surrogate(self, batch: Batch) -> Tensor:
        """Where a surrogate sends each forget image: images (B, C, H, W) in [-1, 1]."""
        if self._surrogate is None:
            raise ValueError("no surrogate was fitted")
        return to_float(self._surrogate[batch.rows_B.to(self._surrogate.device)])

    def noise_images(self, batch: Batch) -> Tensor:
        """n: one for each image of the batch, on its device."""
        generator = generator_of_share(batch.share, self._seed, "noise", batch.step)
        noise_BCHW = drawn(len(batch.rows_B), generator, lambda num: self._noise.draw(num, generator))
        return noise_BCHW.to(batch.images_BCHW)

    def _repeats(self, batch: Batch) -> bool:
        """Whether an image's target is the same at every step, and may be kept."""
        return self._operator.fixed and not batch.draws and bool(self._cache.free_bytes or self._cache.held_bytes)

    def _embed(self, batch: Batch) -> Embedding:
        return self._teacher.encode(batch.images_BCHW, batch.visible_BHW, batch.draws)

    def _cached(self, name: str, batch: Batch, kind: str) -> tuple[Tensor, ...] | None:
        visible_1HW = batch.visible_BHW[:1]

        def compute(images: Tensor) -> tuple[Tensor, ...]:
            visible_BHW = visible_1HW.expand(len(images), -1, -1)
            embedding = self._teacher.encode(to_float(images), visible_BHW)
            return embedding.maps if kind == "embedding" else (self._teacher.decode(embedding, visible_BHW),)

        return self._cache.rows(f"{kind}/{name}", self._images[name], batch.rows_B, compute)

    def _like_rows(self, visible_1HW: Tensor) -> Tensor:
        """Row of the unseen image most like each forget image, found at the first call."""
        if self._like is None:
            seen_1HW = visible_1HW if self._operator.fixed else torch.ones_like(visible_1HW)

            def features(images: Tensor) -> tuple[Tensor, ...]:
                return (pooled(self._teacher.encode(to_float(images), seen_1HW.expand(len(images), -1, -1))),)

            (forget_BF,), (unseen_NF,) = (in_chunks(self._images[name], features) for name in (FORGET, UNSEEN))
            self._like = nearest(forget_BF, unseen_NF).cpu()
        return self._like

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
