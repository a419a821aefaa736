"""States of a categorical chain as learned numbers, for a network that takes channels."""

from typing import final

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

__all__ = ["Embedded"]


@final
class Embedded(nn.Module):
    """network(table[x_t], ...): `size` learned numbers for each of K states.

    x_t are states (B, C, ...), and the network gets (B, C size, ...), those of a channel together.
    Levels begin as neighbours, by cosines along them, and the last state, the mask where there is
    one, by a number of its own: K channels of 0 and 1 would cost more and know no neighbours.
    """

    def __init__(self, network: nn.Module, K: int, size: int) -> None:
        super().__init__()
        self.network = network
        self.table = nn.Parameter(_neighbours(K, size))

    def forward(
        self, x_t: Int64[Tensor, "B C ..."], *conditions: Shaped[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        numbers = self.table[x_t].movedim(-1, 2).flatten(1, 2)
        output: Tensor = self.network(numbers, *conditions)
        return output


def _neighbours(K: int, size: int) -> Float[Tensor, "K size"]:
    """cos(pi r (k + 1/2) / (K - 1)), r = 1..size - 1, then the indicator of the last state."""
    place = (torch.arange(K) + 0.5) / (K - 1)
    table = torch.cos(torch.pi * torch.arange(1, size + 1) * place[:, None])
    table[-1], table[:, -1] = 0, 0
    table[-1, -1] = 1
    return table
