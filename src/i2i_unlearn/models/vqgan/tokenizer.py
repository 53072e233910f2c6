"""Convolutional tokenizer: an image becomes a grid of codes, and codes become an image.

van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017, arXiv:1711.00937;
the network is MaskGIT's (Chang, Zhang, Jiang, Liu, Freeman, CVPR 2022, arXiv:2202.04200), which MAGE uses.

    z = encoder(x),   q = argmin_k || z - c_k ||,   x_hat = decoder(c_q)
    L = || x_hat - x ||^2 / variance + beta || z - sg(c_q) ||^2        (eq. 3; no perceptual or adversarial term here)

The codebook follows the encoder's output by moving averages (appendix A.1 of the paper), not by gradient. Codes are
kept alive: the first batch's outputs are clustered to start with, and a code that is hardly used is put where an output
of the batch lies. Modules are named as in MAGE's public files, so that names map one to one (mage_keys.py).
Shape letters: B batch, C channels, H, W pixels, N tokens in raster order, P tokens of a batch, K codes, D size
of a code.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BETA = 0.25
"""Weight of the commitment term (sec. 3.2)."""
PIXEL_VARIANCE = 1 / 16
"""Of photographs in [0, 1] (CIFAR-10: .06; digits: .1): brings the first term of L to the size of the second."""
USAGE_DECAY = 0.99
LEAST_USAGE = 0.1
"""A code used less than this share of the mean is moved. Codes of a converged tokenizer are used unequally: not 1."""
NUM_CLUSTER_STEPS = 10


class ResidualBlock(nn.Module):
    """Twice norm, swish, 3x3. Where channels change, a 1x1 layer of the *result* replaces the input, as in MaskGIT."""

    def __init__(self, num_in: int, num_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(num_in, groups)
        self.conv1 = _conv3(num_in, num_out, bias=False)
        self.norm2 = _norm(num_out, groups)
        self.conv2 = _conv3(num_out, num_out, bias=False)
        if num_in != num_out:
            self.nin_shortcut = nn.Conv2d(num_out, num_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_in, H, W) -> (B, num_out, H, W)."""
        change = self.conv1(F.silu(self.norm1(x)))
        change = self.conv2(F.silu(self.norm2(change)))
        return change + (self.nin_shortcut(change) if hasattr(self, "nin_shortcut") else x)


class Encoder(nn.Module):
    """Levels of residual blocks with 2x2 mean pooling between them."""

    def __init__(self, num_channels: int, code_size: int, widths: Sequence[int], num_blocks: int, groups: int) -> None:
        """`widths[0]` is the first convolution's, the others are the levels', finest first."""
        super().__init__()
        self.conv_in = _conv3(num_channels, widths[0], bias=False)
        self.down = nn.ModuleList(
            _level(num_in, num_out, num_blocks, groups) for num_in, num_out in zip(widths, widths[1:], strict=False)
        )
        self.mid = _middle(widths[-1], groups)
        self.norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], code_size, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D, h, w)."""
        x = self.conv_in(images)
        for place, level in enumerate(self.down):
            x = _through(level.get_submodule("block").children(), F.avg_pool2d(x, 2) if place else x)
        x = _through(self.mid.values(), x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """The way back: levels from coarse to fine, nearest neighbour and a convolution between them."""

    def __init__(self, num_channels: int, code_size: int, widths: Sequence[int], num_blocks: int, groups: int) -> None:
        """`widths` of the levels, finest first."""
        super().__init__()
        self.conv_in = _conv3(code_size, widths[-1])
        self.mid = _middle(widths[-1], groups)
        incoming = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            _level(num_in, num_out, num_blocks, groups) for num_in, num_out in zip(incoming, widths, strict=True)
        )
        for level, width in zip(self.up[1:], widths[1:], strict=True):
            level.upsample = nn.ModuleDict({"conv": _conv3(width, width)})
        self.norm_out = _norm(widths[0], groups)
        self.conv_out = _conv3(widths[0], num_channels)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, C, H, W), meant for [0, 1]."""
        x = _through(self.mid.values(), self.conv_in(codes))
        for level in reversed(self.up):
            x = _through(level.get_submodule("block").children(), x)
            if hasattr(level, "upsample"):
                x = level.get_submodule("upsample.conv")(F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class VqTokenizer(nn.Module):
    """Encoder, codebook and decoder."""

    codebook_KD: Tensor
    usage_K: Tensor
    started: Tensor

    def __init__(
        self,
        *,
        num_channels: int,
        num_codes: int,
        code_size: int,
        width: int,
        multipliers: Sequence[int],
        num_blocks: int,
        groups: int,
    ) -> None:
        """`width` times `multipliers`: channels of the levels, finest first; each further one halves the grid."""
        super().__init__()
        levels = [width * multiplier for multiplier in multipliers]
        self.encoder = Encoder(num_channels, code_size, [width, *levels], num_blocks, groups)
        self.decoder = Decoder(num_channels, code_size, levels, num_blocks, groups)
        # A buffer: no gradient ever trains it.
        self.register_buffer("codebook_KD", torch.zeros(num_codes, code_size))
        # State of training that is not a weight: in checkpoints of a run, not in model files.
        self.register_buffer("usage_K", torch.zeros(num_codes), persistent=False)
        self.register_buffer("started", torch.tensor(False), persistent=False)

    def tokenize(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> ids (B, N) of the nearest codes. In full precision, whatever autocast says."""
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self.nearest(self.encoder(images.float()))

    def nearest(self, z: Tensor) -> Tensor:
        """(B, D, h, w) -> ids (B, N): the nearest code of each position by Euclidean distance."""
        z_BND = z.float().flatten(2).transpose(1, 2)
        # || z - c ||^2 without || z ||^2, which is the same for all codes
        distance_BNK = self.codebook_KD.square().sum(1) - 2 * z_BND @ self.codebook_KD.T
        return distance_BNK.argmin(2)

    def paint(self, rows_BND: Tensor, grid: tuple[int, int]) -> Tensor:
        """Codebook rows, or mixtures of rows -> images (B, C, H, W), meant for [0, 1]."""
        return self.decoder(rows_BND.transpose(1, 2).unflatten(2, grid))

    def loss(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """L of each image, (B,). In training mode the codebook takes a step, too."""
        z = self.encoder(images)
        z_BND = z.flatten(2).transpose(1, 2)
        if self.training and not self.started:
            self._start(z_BND.detach().float().flatten(0, 1), generator)
        ids_BN = self.nearest(z.detach())
        rows_BND = self.codebook_KD[ids_BN]
        if self.training:
            self._follow(z_BND.detach().float().flatten(0, 1), ids_BN.flatten(), generator)
        straight_BND = z_BND + (rows_BND - z_BND).detach()  # the gradient passes the argmin by (sec. 3.2)
        painted = self.paint(straight_BND, (z.shape[2], z.shape[3]))
        reconstruction_B = (painted - images).square().flatten(1).mean(1)
        commitment_B = (z_BND - rows_BND).square().flatten(1).mean(1)
        return reconstruction_B / PIXEL_VARIANCE + BETA * commitment_B

    def share_of_used_codes(self) -> float:
        """Share of the codes that training used lately; 0 to 1. Known at the end of a training run only."""
        return float((self.usage_K > LEAST_USAGE * self.usage_K.mean()).float().mean())

    @torch.no_grad()
    def _start(self, z_PD: Tensor, generator: torch.Generator) -> None:
        """k-means of the first outputs."""
        num_codes = len(self.codebook_KD)
        order = torch.randperm(len(z_PD), generator=generator).to(z_PD.device)
        self.codebook_KD.copy_(z_PD[order[torch.arange(num_codes, device=z_PD.device) % len(z_PD)]])
        for _ in range(NUM_CLUSTER_STEPS):
            sums_KD, counts_K = self._sums(z_PD, torch.cdist(z_PD, self.codebook_KD).argmin(1))
            used = counts_K > 0
            self.codebook_KD[used] = sums_KD[used] / counts_K[used, None]
        self.usage_K.fill_(len(z_PD) / num_codes)
        self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, z_PD: Tensor, ids_P: Tensor, generator: torch.Generator) -> None:
        """Moving averages of how often a code is used and of what it stands for; then hardly used codes move.

        c_k = sum of outputs / their number, both as moving averages; kept as the mean itself, which moves by the share
        that the new outputs have in the number.
        """
        sums_KD, counts_K = self._sums(z_PD, ids_P)
        self.usage_K.lerp_(counts_K, 1 - USAGE_DECAY)
        share_K = (1 - USAGE_DECAY) / self.usage_K.clamp(min=1e-6)
        self.codebook_KD.add_(share_K[:, None] * (sums_KD - counts_K[:, None] * self.codebook_KD))
        mean_usage = len(z_PD) / len(self.usage_K)
        hardly = self.usage_K < LEAST_USAGE * mean_usage
        # Likelier where an output is far from its code: most outputs are background, which has codes enough.
        squared_P = (z_PD - self.codebook_KD[ids_P]).square().sum(1).cpu()
        places = torch.multinomial(squared_P + 1e-12, len(self.usage_K), replacement=True, generator=generator)
        self.codebook_KD[hardly] = z_PD[places.to(z_PD.device)[hardly]]
        self.usage_K[hardly] = mean_usage  # time to prove itself

    def _sums(self, z_PD: Tensor, ids_P: Tensor) -> tuple[Tensor, Tensor]:
        """Of each code: sum and number of the outputs that chose it."""
        sums_KD = torch.zeros_like(self.codebook_KD).index_add_(0, ids_P, z_PD)
        return sums_KD, torch.bincount(ids_P, minlength=len(self.codebook_KD)).to(z_PD)


def _norm(num_channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, num_channels, eps=1e-6)


def _conv3(num_in: int, num_out: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, padding=1, bias=bias)


def _level(num_in: int, num_out: int, num_blocks: int, groups: int) -> nn.Module:
    level = nn.Module()
    level.block = nn.ModuleList(
        ResidualBlock(num_out if place else num_in, num_out, groups) for place in range(num_blocks)
    )
    return level


def _middle(width: int, groups: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: ResidualBlock(width, width, groups) for name in ("block_1", "block_2")})


def _through(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x
