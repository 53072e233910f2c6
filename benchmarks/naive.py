"""The unlearning loop as a research script has it, written straight from the formula: what ours is compared with.

    L(theta) = mean_r || E_theta(T(x_r)) - E_0(T(x_r)) ||^2 + alpha * mean_f || E_theta(T(x_f)) - E_0(T(n)) ||^2

At every step it opens, decodes and transforms each image file (torch's DataLoader, torchvision's transforms), runs the
library's own forward pass four times (student and teacher, retain and forget), and updates by torch's plain AdamW, all
in float32. It is given the same rows, masks, noise and schedule as our loop, so that with fresh noise at every step
both compute the same losses.
Shape letters: B batch, C channels, H, W pixels, N patches.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.setting import Setting
from i2i_unlearn.method.objectives.base import Batch
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.torchvision_compat import ensure_torchvision
from i2i_unlearn.training.engine import BETAS
from i2i_unlearn.training.run import schedule_of

ensure_torchvision()  # before torchvision: with a CPU build of torch its import must be repaired
from torchvision import transforms  # noqa: E402

Maps = tuple[Tensor, ...]


def write_files(setting: Setting, folder: Path) -> dict[str, list[Path]]:
    """The images of the setting as PNG files, one folder per set."""
    paths: dict[str, list[Path]] = {}
    for name, images in setting.images.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        paths[name] = [folder / name / f"{row:05d}.png" for row in range(len(images))]
        for path, image_CHW in zip(paths[name], images.cpu(), strict=True):
            pixels = image_CHW.permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return paths


class ImageFiles(Dataset[Tensor]):
    """One file, one image: float (C, H, W) in [-1, 1]."""

    def __init__(self, paths: list[Path], num_channels: int) -> None:
        half = (0.5,) * num_channels
        self._paths = paths
        self._mode = "L" if num_channels == 1 else "RGB"
        self._transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Tensor:
        with Image.open(self._paths[row]) as image:
            pixels_CHW: Tensor = self._transform(image.convert(self._mode))
        return pixels_CHW


@dataclass(frozen=True)
class Plan:
    """What chance decides in each step, drawn before the clock starts: the same as in our loop."""

    steps: list[dict[str, Batch]]
    """For each step the sets' rows, masks and draws; the pixels are left out."""


def make_plan(setting: Setting, num_steps: int) -> Plan:
    """The plan of our sampler's first `num_steps` steps."""
    sampler = setting.sampler(stems=False)
    steps = (sampler.batches(step) for step in range(num_steps))
    return Plan([{name: replace(batch, images_BCHW=NO_PIXELS) for name, batch in step.items()} for step in steps])


NO_PIXELS = torch.empty(0)


def run_naive(setting: Setting, files: dict[str, list[Path]], plan: Plan) -> list[float]:
    """The naive loop from the teacher's weights; the total loss of each step."""
    schedule = schedule_of(setting.config.model_copy(update={"num_steps": len(plan.steps)}))
    alpha, encode = setting.config.alpha, ENCODERS[setting.teacher.family]
    teacher, student = setting.teacher, setting.student().requires_grad_(False).train()
    parameters = [parameter.requires_grad_() for _, parameter in student.encoder_parameters()]
    optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=schedule.weight_decay)
    losses = []
    for step, (retain_BCHW, forget_BCHW) in enumerate(zip(*_loaders(setting, files, plan), strict=True)):
        retain, forget = plan.steps[step]["retain"], plan.steps[step]["forget"]
        generator = generator_for(setting.config.seed, "noise", step)
        noise_BCHW = setting.noise.draw(len(forget_BCHW), generator).to(setting.device)
        with torch.no_grad():
            retain_target = encode(teacher, retain_BCHW, retain)
            forget_target = encode(teacher, noise_BCHW, forget)
        retain_term = _distance(encode(student, retain_BCHW, retain), retain_target)
        forget_term = _distance(encode(student, forget_BCHW, forget), forget_target)
        loss = retain_term + alpha * forget_term
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.zero_grad()
        loss.backward()
        if schedule.clip_norm:
            nn.utils.clip_grad_norm_(parameters, schedule.clip_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


def _loaders(setting: Setting, files: dict[str, list[Path]], plan: Plan) -> list[Iterator[Tensor]]:
    """Batches of pixels of retain and forget, on the device; each image is decoded when its turn comes."""
    loaders = []
    for name in ("retain", "forget"):
        rows = [step[name].rows_B.tolist() for step in plan.steps]
        images = ImageFiles(files[name], setting.teacher.num_channels)
        loader: DataLoader[Tensor] = DataLoader(images, batch_sampler=rows)
        loaders.append(pixels_BCHW.to(setting.device) for pixels_BCHW in loader)
    return loaders


def _distance(maps: Maps, targets: Maps) -> Tensor:
    """Mean squared difference of each map, then the mean over maps."""
    return torch.stack([F.mse_loss(one, other) for one, other in zip(maps, targets, strict=True)]).mean()


def _encode_mae(model: Any, images_BCHW: Tensor, batch: Batch) -> Maps:
    """Transformers' ViTMAE, told the mask by its `noise`: it keeps the patches of the smallest."""
    vit, size = model.model.vit, model.model.config.patch_size
    visible_BN = F.unfold(batch.visible_BHW.unsqueeze(1).float(), size, stride=size).amin(1) > 0
    num_patches, num_hidden = visible_BN.shape[1], int((~visible_BN[0]).sum())
    vit.config.mask_ratio = (num_hidden - 0.5) / num_patches
    noise_BN = 1000.0 * ~visible_BN + torch.arange(num_patches, device=visible_BN.device)
    return (vit(images_BCHW, noise=noise_BN).last_hidden_state,)


def _encode_diffusion(model: Any, images_BCHW: Tensor, batch: Batch) -> Maps:
    """Diffusers' U-Net up to its middle block, in the library's own layout of memory."""
    unet, hidden_B1HW = model.unet, ~batch.visible_BHW.unsqueeze(1)
    time_B, noise_BCHW = batch.draws
    level_B111 = model.scheduler.alphas_cumprod.to(time_B.device)[time_B.long()].view(-1, 1, 1, 1)
    noised_BCHW = level_B111.sqrt() * images_BCHW + (1 - level_B111).sqrt() * noise_BCHW
    noisy_BCHW = torch.where(hidden_B1HW, noised_BCHW, images_BCHW)
    embedded_BD = unet.time_embedding(unet.time_proj(time_B))
    joined_BCHW = torch.cat((images_BCHW * ~hidden_B1HW, noisy_BCHW), dim=1)
    feature_BCHW = unet.conv_in(F.pixel_unshuffle(joined_BCHW, model.settings.patch_size))
    maps = [feature_BCHW]
    for block in unet.down_blocks:
        feature_BCHW, skips = block(feature_BCHW, embedded_BD)
        maps += skips
    return (*maps, unet.mid_block(feature_BCHW, embedded_BD))


def _encode_vqgan(model: Any, images_BCHW: Tensor, batch: Batch) -> Maps:
    """The tokenizer on every image, then the transformer; no library has this family, so its own modules are called."""
    maps: Maps = model.encode(images_BCHW, batch.visible_BHW).maps
    return maps


ENCODERS: dict[str, Callable[[Any, Tensor, Batch], Maps]] = {
    "mae": _encode_mae,
    "diffusion": _encode_diffusion,
    "vqgan": _encode_vqgan,
}
"""E(T(x)) of each family through its library's own modules, as a script calls them."""
