"""Logits over many levels from few channels."""

from typing import final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

__all__ = ["LowRankLogits"]


@final
class LowRankLogits(nn.Module):
    """logit_k = sum over r of c_r table[r, k], where the network gives c: `rank` numbers a pixel.

    The network maps (x_t, time, labels if any) to (B, C rank, ...); the result is (B, C n, ...), as
    the levels parametrisation and D3PM read it. The table is learned and one for all pixels, so
    the rows are the sufficient statistics of the distributions that a pixel can have. It begins
    with those of a bump anywhere (cosines along the levels) and of the two end levels, where
    images clip.
    """

    def __init__(self, network: nn.Module, rank: int, n: int) -> None:
        super().__init__()
        self.network = network
        self.table = nn.Parameter(_statistics(rank, n))

    def forward(
        self, x_t: Shaped[Tensor, "B ..."], time: Shaped[Tensor, " B"], *label: Shaped[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        c: Tensor = self.network(x_t, time, *label)
        # A product for each image, whose result is laid out as the logits of a plain network are:
        # one product for all would be copied into that order, at twice the cost.
        pixels = c.reshape(-1, len(self.table), c[0, 0].numel())
        logits = torch.bmm(self.table.T.expand(len(pixels), -1, -1), pixels)
        return logits.reshape(len(c), -1, *c.shape[2:])


def _statistics(rank: int, n: int) -> Float[Tensor, "rank n"]:
    """cos(pi r (k + 1/2) / n) for r = 1, 2, ..., then the indicators of level 0 and n - 1."""
    place = (torch.arange(n) + 0.5) / n
    waves = torch.cos(torch.pi * torch.arange(1, rank - 1)[:, None] * place)
    ends = torch.zeros(2, n)
    ends[0, 0] = ends[1, -1] = 1
    return torch.cat([waves, ends])
