"""The compact residual net in whole numbers."""

from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from nelbo.networks.integers.arithmetic import Convolution, Norm, Table, part
from nelbo.networks.integers.block import IntegerBlock, Names
from nelbo.networks.integers.filling import Filling
from nelbo.networks.resnet import Block, ResNet

__all__ = ["IntegerResNet"]


@final
class IntegerResNet(nn.Module):
    """(whole x_t, row of t) -> whole outputs: `ResNet`, a row of scales in place of its time."""

    def __init__(self, like: ResNet, pixels: int, rows: int) -> None:
        super().__init__()
        self.enter = Convolution("enter", like.enter)
        self.blocks = nn.ModuleList(
            IntegerBlock(like, _names(f"blocks.{i}"), pixels, rows, shifted=False)
            for i in range(len(like.blocks))
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
        output: Tensor = self.leave(silu(self.norm(h, row)), kind)
        return output

    def fill(self, filling: Filling, entry: float, most: int, out: float) -> None:
        """entry: the step of x_t, which is at most `most`; out: that of the outputs."""
        real = part(ResNet, filling.network)
        step = filling.step("enter", *(f"blocks.{i}" for i in range(len(self.blocks))))
        filling.convolution(self.enter, entry, step, most)
        condition = real.embed(filling.times.float().to(real.enter.weight.device))
        for mine, block in zip(self.blocks, real.blocks, strict=True):
            scale, shift = part(Block, block).condition(condition).double().chunk(2, dim=1)
            part(IntegerBlock, mine).fill(filling, step, scale=scale, shift=shift)
        filling.norm(self.norm, step)
        filling.convolution(self.leave, filling.silu, out)

    def check(self, most: int, silu: Table) -> int:
        """The largest magnitude of the result where |x_t| <= most; every layer within its limits.

        Raises:
            BadInput: a declared range lets a number pass one; the message names the layer.
        """
        most = self.enter.check(most)
        for block in self.blocks:
            most = part(IntegerBlock, block).check(most, silu)
        self.norm.check(most)
        return self.leave.check(silu.most)


def _names(layer: str) -> Names:
    return Names(*(f"{layer}.{name}" for name in ("first.0", "first.2", "norm", "second.2")))
