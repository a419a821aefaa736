"""The compact residual net in whole numbers."""

from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from nelbo.networks.integers.arithmetic import LARGEST, Convolution, Norm, Table, part
from nelbo.networks.resnet import Block, ResNet

__all__ = ["IntegerBlock", "IntegerResNet"]


@final
class IntegerResNet(nn.Module):
    """(whole x_t, row of t) -> whole logits: `ResNet` with a row of scales in place of its time."""

    def __init__(self, like: ResNet, pixels: int, rows: int) -> None:
        super().__init__()
        self.enter = Convolution("enter", like.enter)
        self.blocks = nn.ModuleList(
            IntegerBlock(f"blocks.{i}", part(Block, block), pixels, rows)
            for i, block in enumerate(like.blocks)
        )
        self.norm = Norm("leave.0", part(nn.GroupNorm, like.leave[0]), pixels, 1)
        self.leave = Convolution("leave.2", part(nn.Conv2d, like.leave[2]))

    def forward(
        self,
        x_t: Int64[Tensor, "B C H W"],
        row: Int64[Tensor, " B"],
        silu: Table,
        kind: torch.dtype,
    ) -> Int64[Tensor, "B out H W"]:
        h = self.enter(x_t, kind)
        for block in self.blocks:
            h = block(h, row, silu, kind)
        logits: Tensor = self.leave(silu(self.norm(h, row)), kind)
        return logits

    def check(self, most: int, silu: Table) -> None:
        """Holds every layer against its limits, where inputs are at most `most`.

        Raises:
            BadInput: a declared range lets a number pass one; the message names the layer.
        """
        most = self.enter.check(most)
        for block in self.blocks:
            most = part(IntegerBlock, block).check(most, silu)
        self.norm.check(most)
        self.leave.check(silu.most)


@final
class IntegerBlock(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h)))))), the second norm's scales a row for each t."""

    def __init__(self, layer: str, like: Block, pixels: int, rows: int) -> None:
        super().__init__()
        self.first_norm = Norm(f"{layer}.first.0", part(nn.GroupNorm, like.first[0]), pixels, 1)
        self.first = Convolution(f"{layer}.first.2", part(nn.Conv2d, like.first[2]))
        self.second_norm = Norm(f"{layer}.norm", like.norm, pixels, rows)
        self.second = Convolution(f"{layer}.second.2", part(nn.Conv2d, like.second[2]))

    def forward(self, h: Tensor, row: Tensor, silu: Table, kind: torch.dtype) -> Tensor:
        inside = self.first(silu(self.first_norm(h, row)), kind)
        inside = self.second(silu(self.second_norm(inside, row)), kind)
        added: Tensor = (h + inside).clamp(-LARGEST, LARGEST)
        return added

    def check(self, most: int, silu: Table) -> int:
        """The largest magnitude of the result where |h| <= most.

        Raises:
            BadInput: as `Convolution.check` and `Norm.check`.
        """
        self.first_norm.check(most)
        self.second_norm.check(self.first.check(silu.most))
        self.second.check(silu.most)
        return LARGEST
