"""Opens a saved model with its library alone and writes what it computes: `python reader.py KIND FOLDER OUT`.

Run by __main__.py under each version of the library, first on the path; nothing of this program takes part but the
stand-in for a torchvision that does not load.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

from i2i_unlearn.support.torchvision_compat import ensure_torchvision

Outputs = dict[str, torch.Tensor]


def opened(library: str, kind: str, folder: Path) -> Any:
    """The model, all of whose tensors must come from the files."""
    ensure_torchvision()
    opener = getattr(importlib.import_module(library), kind)
    model, info = opener.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    wrong = {name: sorted(found) for name, found in info.items() if found}
    if wrong:
        raise SystemExit(f"{kind} opens with {wrong}")
    return model.eval()


def numbers(*shape: int) -> torch.Tensor:
    """The same ones always."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def mae(folder: Path) -> Outputs:
    """Half of the patches are hidden."""
    model = opened("transformers", "ViTMAEForPreTraining", folder)
    size, patch, channels = (getattr(model.config, name) for name in ("image_size", "patch_size", "num_channels"))
    model.config.mask_ratio = 0.5
    noise = torch.arange(float((size // patch) ** 2)).expand(2, -1)
    return {"logits": model(numbers(2, channels, size, size), noise=noise).logits}


def diffusion(folder: Path) -> Outputs:
    """The U-Net at one time, and the levels of its schedule."""
    unet = opened("diffusers", "UNet2DModel", folder / "unet")
    side = unet.config.sample_size
    return {"unet": unet(numbers(2, unet.config.in_channels, side, side), 7).sample, **levels(folder)}


def latent_diffusion(folder: Path) -> Outputs:
    """U-Net and VAE, both ways."""
    unet = opened("diffusers", "UNet2DConditionModel", folder / "unet")
    vae = opened("diffusers", "AutoencoderKL", folder / "vae")
    side, width = unet.config.sample_size, unet.config.cross_attention_dim
    latents = vae.encode(numbers(2, 3, 2 * side, 2 * side)).latent_dist.mode()
    seen = unet(numbers(2, 9, side, side), 7, encoder_hidden_states=numbers(2, 5, width)).sample
    return {"unet": seen, "latents": latents, "images": vae.decode(latents).sample, **levels(folder)}


def levels(folder: Path) -> Outputs:
    """Of the schedule that the directory holds."""
    from diffusers import DDIMScheduler

    return {"levels": DDIMScheduler.from_pretrained(folder / "scheduler").alphas_cumprod}


if __name__ == "__main__":
    kind, folder, out = sys.argv[1:]
    with torch.no_grad():
        torch.save(globals()[kind](Path(folder)), out)
