"""Recovery: does the encoder still tell another decoder what it should have forgotten?

The attacker has a frozen encoder and retain images. A small decoder of our own, the same for every family and every
model, is trained from random weights to paint the hole of retain images from E(T(x)) alone, then asked for forget
images, of which it saw none.

    recovery_gain_db   PSNR in the hole of forget images, minus that of the mean retain image
    recovery_gap_db    this gain minus that on never-trained images

The decoder is trained on images that the encoder was trained on, too. So where the encoder has kept something of its
own training images, the decoder learns to read it, and then reads it of forget images as well, but not of images that
were never trained on: an encoder that never saw the forget images leaves no gap. The mean image takes out how hard each
set is by itself. Where the never-trained images are of other classes it does so only roughly, and only the reference
tells.

Intervals are over images, each set resampled on its own, on the same draws for all models. They hold for this one
decoder.

Shape letters: B batch, N tokens, D embedding size, C channels, H, W pixels,
P pixels of a patch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from i2i_unlearn.evaluation.audits.base import Attacked, AuditInputs, ImageSet
from i2i_unlearn.evaluation.audits.training import fit
from i2i_unlearn.evaluation.metrics.bootstrap import Draws, draw
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error, of_errors, psnr_db
from i2i_unlearn.method.objectives.base import Batch, Phase, Scope, State, Targets
from i2i_unlearn.models.base import Embedding
from i2i_unlearn.models.own_weights import seeded
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.support.progress import Advance
from i2i_unlearn.training.sampling import Sampler, single_pool

Array = NDArray[np.float32]

BATCH = 32
LEARNING_RATE = 2e-3
WIDTH, NUM_LAYERS, NUM_HEADS = 64, 2, 4
MOST_PATCHES = 4
"""Patches that the decoder paints, along one side. Few: one is trained for every model at every evaluation."""
MOST_PLACES = 8
"""Cells that a feature map is averaged down to, along one side."""
MOST_KEPT_BYTES = 2**28
"""Of embeddings of retain images that are kept, where T is fixed and they never change."""
MOST_RETAIN = 200
"""Retain images that are completed, for comparison."""


class FreshDecoder(nn.Module):
    """Paints images from the maps of any family: patches ask, tokens answer (cross-attention)."""

    def __init__(self, like: Embedding, mean_CHW: Tensor, generator: torch.Generator) -> None:
        """`like`: an embedding whose maps have the channels to come. `mean_CHW`: what is painted before training."""
        super().__init__()
        channels, height, width = mean_CHW.shape
        self._patch = (_patch_side(height), _patch_side(width))
        self._grid = (height // self._patch[0], width // self._patch[1])
        num_patches = self._grid[0] * self._grid[1]
        sizes = [tokens.shape[2] for tokens in map(as_tokens, like.maps)]
        with seeded(generator):
            self.read = nn.ModuleList([nn.Sequential(nn.LayerNorm(size), nn.Linear(size, WIDTH)) for size in sizes])
            self.tags = nn.Parameter(torch.randn(len(sizes), WIDTH) * 0.1)
            self.queries = nn.Parameter(torch.randn(num_patches, WIDTH))
            layer = nn.TransformerDecoderLayer(
                WIDTH, NUM_HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerDecoder(layer, NUM_LAYERS, nn.LayerNorm(WIDTH))
            self.paint = nn.Linear(WIDTH, channels * self._patch[0] * self._patch[1])
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)
        self.mean_1CHW: Tensor
        self.register_buffer("mean_1CHW", mean_CHW.unsqueeze(0))

    def forward(self, embedding: Embedding) -> Tensor:
        """Images (B, C, H, W), not clamped."""
        maps = [as_tokens(feature) for feature in embedding.maps]
        memory = torch.cat([self._read(number, tokens) for number, tokens in enumerate(maps)], dim=1)
        padding = None if embedding.valid_BN is None else ~embedding.valid_BN.repeat(1, len(maps))
        queries = self.queries.expand(len(memory), -1, -1)
        patches_BNP = self.paint(self.layers(queries, memory, memory_key_padding_mask=padding))
        folded_BPN = patches_BNP.transpose(1, 2)
        size = (self._grid[0] * self._patch[0], self._grid[1] * self._patch[1])
        return self.mean_1CHW + functional.fold(folded_BPN, size, self._patch, stride=self._patch)

    def _read(self, number: int, tokens_BND: Tensor) -> Tensor:
        read: Tensor = self.read[number](tokens_BND)
        return read + self.tags[number] + _places(tokens_BND.shape[1]).to(read)


def as_tokens(feature: Tensor) -> Tensor:
    """A map of any family as (B, N, D), in full precision: vectors become one token, feature maps a coarse grid."""
    if feature.ndim == 2:  # noqa: PLR2004  (B, D)
        return feature.unsqueeze(1).float()
    if feature.ndim == 4:  # noqa: PLR2004  (B, C, H, W)
        height, width = (min(side, MOST_PLACES) for side in feature.shape[2:])
        return functional.adaptive_avg_pool2d(feature.float(), (height, width)).flatten(2).transpose(1, 2)
    return feature.float()


def _patch_side(side: int) -> int:
    """The smallest divisor of `side` that makes at most `MOST_PATCHES` patches."""
    return next(size for size in range(math.ceil(side / MOST_PATCHES), side + 1) if side % size == 0)


def _places(num: int) -> Tensor:
    """Sine code of the place in the sequence (num, WIDTH): any length, nothing to learn."""
    rates = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10_000.0) / WIDTH))
    angles = torch.arange(num).unsqueeze(1) * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class Recovery:
    """Meets base.Audit."""

    name = "recovery"
    question = "Could somebody train another decoder that paints the images back from what the encoder still says?"
    measure = "recovery_gap_db"
    innocent = 0.0
    sets = ("forget", "retain", "never_trained")
    min_images = 30

    def units(self, inputs: AuditInputs) -> int:
        """Images trained on and completed, of all models."""
        completed = sum(len(images) for images in self._judged(inputs).values())
        return len(inputs.models) * (inputs.settings.recovery_steps * BATCH + completed)

    def attack(self, inputs: AuditInputs, advance: Advance) -> Attacked:
        """Train a decoder for every model's encoder and ask it for forget images."""
        judged = self._judged(inputs)
        errors = {name: _recover(model, judged, inputs, advance) for name, model in inputs.models.items()}
        compared_with, _ = inputs.never_trained(self.min_images)
        gain = {kind: _gains(kind, judged[kind], errors, inputs) for kind in ("forget", "never")}
        return Attacked(
            measures={
                name: {
                    "recovery_gap_db": gain["forget"][name].minus(gain["never"][name]),
                    "recovery_gain_db": gain["forget"][name],
                }
                for name in inputs.models
            },
            num_images=min(len(judged["forget"]), len(judged["never"])),
            compared_with=compared_with,
            innocent_holds=inputs.is_alike(compared_with),
            curves={
                name: {f"{kind}_psnr_db": [float(psnr_db(error_N.mean()))] for kind, error_N in found.items()}
                for name, found in errors.items()
            },
            facts={
                "num_steps": inputs.settings.recovery_steps,
                "learning_rate": LEARNING_RATE,
                "width": WIDTH,
                "num_retain": len(inputs.sets["retain"]),
            },
        )

    def _some_retain(self, inputs: AuditInputs) -> ImageSet:
        """Drawn at random: sets lie in the order of the shards, which are often sorted by class."""
        retain = inputs.sets["retain"]
        return retain[torch.from_numpy(inputs.rng("recovery", "retain").permutation(len(retain))[:MOST_RETAIN])]

    def _judged(self, inputs: AuditInputs) -> dict[str, ImageSet]:
        return {
            "forget": inputs.sets["forget"],
            "never": inputs.never_trained(self.min_images)[1],
            "retain": self._some_retain(inputs),
        }


class _Painting:
    """Minimise the mean error in the hole; meets objectives.base.Objective, the student being a decoder."""

    scope: Scope = "all"
    needs = frozenset({"retain"})

    def __init__(self, model: Any, kept: Embedding | None) -> None:
        self._model = model
        self._kept = kept

    def phases(self, num_steps: int) -> Sequence[Phase]:
        return [Phase("painting", num_steps)]

    def terms(
        self, batches: Mapping[str, Batch], student: Any, targets: Targets | None, state: State
    ) -> dict[str, Tensor]:
        batch = batches["retain"]
        kept = self._kept
        embedding = kept[batch.rows_B] if kept else _read(self._model, batch.images_BCHW, batch.visible_BHW)
        return {"retain": hole_error(student(embedding), batch.images_BCHW, batch.visible_BHW).mean()}

    def backward(self, terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter], state: State) -> Tensor:
        terms["retain"].backward()
        return terms["retain"]


def _recover(model: Any, judged: Mapping[str, ImageSet], inputs: AuditInputs, advance: Advance) -> dict[str, Array]:
    """Train a decoder; the hole errors of what it paints, by set."""
    decoder = _decoder_for(model, inputs)
    retain = inputs.sets["retain"]
    pool = single_pool(retain.images_NCHW.to(inputs.device), BATCH)
    fit(
        decoder,
        _Painting(model, _kept(model, retain, inputs)),
        Sampler({"retain": pool}, inputs.operator, derive_seed(inputs.seed, "audit", "recovery")),
        audit="recovery",
        num_steps=inputs.settings.recovery_steps,
        learning_rate=LEARNING_RATE,
        seed=derive_seed(inputs.seed, "audit", "recovery", "layers"),
        after_step=lambda _: advance(BATCH, "recovery"),
    )
    return {kind: _errors(model, decoder, images, inputs, advance) for kind, images in judged.items()}


@torch.no_grad()
def _read(model: Any, images_BCHW: Tensor, visible_BHW: Tensor) -> Embedding:
    """E(T(x)) as tokens, which take less room than a U-Net's maps."""
    embedding = model.encode(images_BCHW, visible_BHW)
    return Embedding(tuple(map(as_tokens, embedding.maps)), embedding.valid_BN)


def _kept(model: Any, retain: ImageSet, inputs: AuditInputs) -> Embedding | None:
    """The embeddings of all retain images; None where masks differ or they take too much room."""
    if not inputs.operator.fixed:
        return None
    first = _read(model, *next(retain[:1].batches(1, inputs.device)))
    num_bytes = len(retain) * sum(tokens.numel() * tokens.element_size() for tokens in first.maps)
    if first.valid_BN is not None or num_bytes > MOST_KEPT_BYTES:
        return None
    parts = [_read(model, *batch) for batch in retain.batches(inputs.batch_size, inputs.device)]
    return Embedding(tuple(torch.cat(maps) for maps in zip(*(part.maps for part in parts), strict=True)))


def _gains(
    kind: str, images: ImageSet, errors: Mapping[str, Mapping[str, Array]], inputs: AuditInputs
) -> dict[str, Draws]:
    """By model: PSNR of what its decoder paints minus that of the mean retain image, on the same images."""
    mean_1CHW = mean_image(inputs.sets["retain"]).unsqueeze(0)
    of_mean = [hole_error(mean_1CHW, *batch) for batch in images.batches(inputs.batch_size, torch.device("cpu"))]
    statistics = {name: of_errors(found[kind]) for name, found in errors.items()}
    drawn = draw(
        {**statistics, None: of_errors(torch.cat(of_mean).numpy())},
        num_images=len(images),
        num_draws=inputs.num_draws,
        rng=inputs.rng("recovery", kind),
    )
    return {name: drawn[name].minus(drawn[None]) for name in errors}


def mean_image(images: ImageSet) -> Tensor:
    """Pixel by pixel (C, H, W), in [-1, 1]."""
    return to_float(images.images_NCHW.float().mean(0))


@torch.no_grad()
def _decoder_for(model: Any, inputs: AuditInputs) -> FreshDecoder:
    """Fresh weights, the same for all models; it starts from the mean retain image."""
    retain = inputs.sets["retain"]
    images_BCHW, visible_BHW = next(retain[:2].batches(2, inputs.device))
    like = _read(model, images_BCHW, visible_BHW)
    return FreshDecoder(like, mean_image(retain), inputs.generator("recovery", "decoder")).to(inputs.device)


@torch.no_grad()
def _errors(model: Any, decoder: FreshDecoder, images: ImageSet, inputs: AuditInputs, advance: Advance) -> Array:
    errors = []
    for images_BCHW, visible_BHW in images.batches(inputs.batch_size, inputs.device):
        painted_BCHW = decoder(_read(model, images_BCHW, visible_BHW)).clamp(-1, 1)
        errors.append(hole_error(painted_BCHW, images_BCHW, visible_BHW))
        advance(len(images_BCHW), "recovery")
    return torch.cat(errors).cpu().numpy()


AUDIT = Recovery()
