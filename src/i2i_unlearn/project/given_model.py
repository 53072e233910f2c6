"""The model that a user brings: recognised, and with what it tells of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_unlearn.models import load_model
from i2i_unlearn.models.laws import check_laws
from i2i_unlearn.models.published import convert_checkpoint, is_checkpoint
from i2i_unlearn.models.whole import notes_on
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder

LIBRARIES = {
    "mae": "a masked autoencoder (transformers' ViTMAE)",
    "diffusion": "a diffusion inpainter (U-Net of diffusers)",
    "latent_diffusion": "a latent diffusion inpainter (diffusers)",
    "vqgan": "a masked token model after MAGE",
}
"""What people call the families."""
_MAE_RECIPE = (
    *("patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("decoder_hidden_size", "decoder_num_hidden_layers", "decoder_num_attention_heads", "decoder_intermediate_size"),
)


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A model that was opened, and what is to be written into the settings."""

    model: Any
    """An `ImageToImage`."""
    source: Path
    is_file: bool
    own: str
    """The user's class, module:Class; empty = one of our families."""
    sha256: str
    """Digest of the directory or file."""
    notes: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What it is, in words."""
        what = f"your class {self.own}" if self.own else LIBRARIES[self.model.family]
        return f"{what}, from a published file" if self.is_file else what

    @property
    def family(self) -> str:
        """As `pretrain.family` names it."""
        return "own" if self.own else str(self.model.family)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.model.image_size
        return int(height), int(width)

    @property
    def patch_size(self) -> int:
        """Side of the squares that the model sees as one, in pixels; an eighth of the image where it sees none."""
        if self.family == "mae":
            return int(self.model.model.config.patch_size)
        if self.family == "vqgan":
            return int(self.model.architecture.patch_size)
        return max(min(self.image_size) // 8, 1)

    @property
    def num_weights(self) -> int:
        """How many numbers are trained or kept."""
        return sum(part.numel() for part in self.model.parameters())

    @property
    def architecture(self) -> dict[str, Any]:
        """What `pretrain.architecture` must say to train another one; empty where the model does not tell."""
        if self.family != "mae":
            return {}
        return {name: getattr(self.model.model.config, name) for name in _MAE_RECIPE}


def look_at_model(source: Path, *, own: str, checkpoint: Mapping[str, Any]) -> GivenModel:
    """Open a model directory or published file as the stage `snapshot` will.

    Args:
        source: directory or file.
        own: a class of the user's own that may be imported; empty = none.
        checkpoint: what a published file does not tell of itself (snapshot.checkpoint).

    Raises:
        UserError: it is missing, damaged, of no known kind, or completes no images.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; give a model directory or a published checkpoint")
    is_file = is_checkpoint(str(source))
    if checkpoint and not is_file:
        raise UserError(f"--checkpoint is for a published file, and {source} is a folder; leave it out")
    if is_file:
        converted = convert_checkpoint(source, checkpoint)
        model, notes, sha256 = converted.model, converted.notes, digest_file(source)
    else:
        model, sha256 = load_model(source, own), digest_folder(source)
        notes = [] if own else notes_on(source)
    if own:
        check_laws(model)
    if not getattr(model, "has_decoder", True):
        raise UserError(
            f"{source}: holds no decoder, so it completes no images; give the file with encoder and decoder"
        )
    return GivenModel(
        model=model, source=source, is_file=is_file, own=own, sha256=sha256, notes=tuple(dict.fromkeys(notes))
    )
