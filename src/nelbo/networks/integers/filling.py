"""Whole numbers for the layers of a network, from its weights and the ranges of what they give."""

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from nelbo.networks.integers.arithmetic import LARGEST, UNIT, Convolution, Norm, Table, part

__all__ = ["Filling"]

ROOM = 1.5  # the declared range of a layer's output, over the largest that was observed
LEAST = 0.01  # of such a range: finer steps, those of a layer that gives zeros, have no use


@final
class Filling:
    """Fills layers in whole numbers, each from the layer of its name in a float network.

    table: of silu, filled here, with as many bits behind the point of its index, `point`, and
    steps of its values as the ranges allow. ranges: the largest magnitude of each layer's output,
    "" being the network's own and "silu" that of what enters one; times: what the network
    receives of each t; bits: of each weight.
    """

    def __init__(
        self,
        table: Table,
        network: nn.Module,
        ranges: Mapping[str, float],
        times: Tensor,
        bits: int,
    ) -> None:
        self.network, self.ranges, self.times, self.bits = network, ranges, times, bits
        half = len(table.values) // 2
        # the table reaches past the largest observed
        reach = 1.1 * max(ranges["silu"], 1e-6)
        self.point = min(UNIT + 1, math.floor(math.log2(half / reach)))
        finer = self.point + LARGEST.bit_length() - (half - 1).bit_length()
        x = torch.arange(-half, half, dtype=torch.float64) / 2**self.point
        table.values.copy_((silu(x) * 2**finer).round().clamp(max=LARGEST))
        self.silu = 2.0**-finer

    def step(self, *layers: str, more: float = 0.0) -> float:
        """The step of whole numbers that hold the outputs of these layers and so much more."""
        return ROOM * max(LEAST, more + max(self.ranges[name] for name in layers)) / LARGEST

    def convolution(self, whole: Convolution, step: float, out: float, most: int = LARGEST) -> None:
        """For inputs of this step, at most `most`; outputs of the step `out`."""
        real = part(nn.Conv2d, self.network.get_submodule(whole.layer))
        whole.fill(real, self.bits, step, out, most)

    def norm(
        self, whole: Norm, step: float, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> None:
        """For inputs of this step, to an index of silu's table.

        scale, shift: rows (T, channels), where the norm's result y becomes y (1 + scale) + shift.
        """
        real = part(nn.GroupNorm, self.network.get_submodule(whole.layer))
        gain, offset = real.weight.double()[None], real.bias.double()[None]
        if scale is not None and shift is not None:
            gain, offset = gain * (1 + scale), offset * (1 + scale) + shift
        whole.fill(real, step, self.point, gain, offset)
