"""A residual block in whole numbers, which the networks of the recipes share."""

from typing import NamedTuple, final

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from nelbo.networks.integers.arithmetic import LARGEST, Convolution, Norm, Table, part
from nelbo.networks.integers.filling import Filling

__all__ = ["IntegerBlock", "Names"]


class Names(NamedTuple):
    """Where a block has its layers in the float network."""

    first_norm: str
    first: str
    second_norm: str
    second: str
    shortcut: str | None = None


@final
class IntegerBlock(nn.Module):
    """skip(h) + conv(silu(norm(conv(silu(norm(h))) + shift))), skip a 1x1 convolution or nothing.

    The time is a row of the second norm's scales, or where `shifted` one of shifts before it.
    """

    shift: Tensor | None

    def __init__(
        self, network: nn.Module, names: Names, pixels: int, rows: int, *, shifted: bool
    ) -> None:
        super().__init__()
        find = network.get_submodule
        first_norm, second_norm = (
            part(nn.GroupNorm, find(name)) for name in (names.first_norm, names.second_norm)
        )
        first, second = (part(nn.Conv2d, find(name)) for name in (names.first, names.second))
        self.first_norm = Norm(names.first_norm, first_norm, pixels, 1)
        self.first = Convolution(names.first, first)
        empty = torch.zeros(rows, first.out_channels, dtype=torch.int16) if shifted else None
        self.register_buffer("shift", empty)
        self.second_norm = Norm(names.second_norm, second_norm, pixels, 1 if shifted else rows)
        self.second = Convolution(names.second, second)
        self.shortcut = None
        if names.shortcut is not None:
            self.shortcut = Convolution(names.shortcut, part(nn.Conv2d, find(names.shortcut)))

    def forward(
        self, h: Int64[Tensor, "B C H W"], row: Int64[Tensor, " B"], silu: Table, kind: torch.dtype
    ) -> Int64[Tensor, "B O H W"]:
        inside = self.first(silu(self.first_norm(h, row)), kind)
        if self.shift is not None:
            shift = self.shift[row].long()[:, :, None, None]
            inside = (inside + shift).clamp(-LARGEST, LARGEST)
        inside = self.second(silu(self.second_norm(inside, row)), kind)
        skip = h if self.shortcut is None else self.shortcut(h, kind)
        added: Tensor = (skip + inside).clamp(-LARGEST, LARGEST)
        return added

    def fill(
        self,
        filling: Filling,
        step: float,
        *,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> None:
        """For inputs and outputs of this step.

        scale, shift: rows (T, channels): y (1 + scale) + shift of the second norm's result y, or
        where there are shifts before it, these alone.
        """
        before = shift if self.shift is not None else None
        more = 0.0 if before is None else float(before.abs().max())
        inner = filling.step(self.first.layer, more=more)  # between the two convolutions
        filling.norm(self.first_norm, step)
        filling.convolution(self.first, filling.silu, inner)
        if self.shift is not None and before is not None:
            self.shift.copy_((before.double() / inner).round())
        filling.norm(self.second_norm, inner, scale, shift if before is None else None)
        filling.convolution(self.second, filling.silu, step)
        if self.shortcut is not None:
            filling.convolution(self.shortcut, step, step)

    def check(self, most: int, silu: Table) -> int:
        """The largest magnitude of the result where |h| <= most.

        Raises:
            BadInput: as `Convolution.check` and `Norm.check`.
        """
        self.first_norm.check(most)
        self.second_norm.check(self.first.check(silu.most))  # shifted ones are kept within as much
        self.second.check(silu.most)
        if self.shortcut is not None:
            self.shortcut.check(most)
        return LARGEST
