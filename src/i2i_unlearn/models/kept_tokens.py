"""Which tokens of a grid an encoder sees, where images of a batch may keep different ones.

Shape letters: B batch, N tokens of the grid, K most tokens that an image keeps, D embedding size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeptTokens:
    """Places of the kept tokens of each image."""

    ids_BK: Tensor
    """Kept tokens in raster order, then others as padding. B = 1 where all images share them."""
    valid_BK: Tensor | None
    """True = kept, False = padding; None where there is no padding."""

    @classmethod
    def of(cls, kept_BN: Tensor) -> "KeptTokens":
        """From booleans, True = kept; one row serves all images."""
        count_B = kept_BN.sum(1)
        most = int(count_B.max())
        ids_BK = kept_BN.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        padded = not bool((count_B == most).all())
        return cls(ids_BK, kept_BN.gather(1, ids_BK) if padded else None)

    def gather(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, K, D)."""
        if len(self.ids_BK) == 1:
            return tokens_BND[:, self.ids_BK[0]]
        tokens_BND = tokens_BND.expand(len(self.ids_BK), -1, -1)
        return tokens_BND.gather(1, self._index(tokens_BND))

    def scatter(self, kept_BKD: Tensor, fill_BND: Tensor) -> Tensor:
        """(B, K, D) back to their places in `fill` (B, N, D); padding goes nowhere."""
        ids = self.ids_BK.expand(len(kept_BKD), -1)
        if self.valid_BK is not None:  # padding stands for tokens that are not kept: they stay as they are
            kept_BKD = torch.where(self.valid_BK.unsqueeze(-1), kept_BKD, self.gather(fill_BND))
        return fill_BND.scatter(1, ids.unsqueeze(-1).expand(-1, -1, kept_BKD.shape[-1]), kept_BKD)

    def _index(self, tokens: Tensor) -> Tensor:
        return self.ids_BK.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
