"""Exact arithmetic of whole numbers, the same on any machine, in any order and batch.

A value is an int64. Sums of products run through float64, where every partial sum of whole numbers
below 2^53 is exact in whatever order it is formed; all else is int64 below 2^63. Both limits are
held against declared ranges, the largest that each input can be, and not against observed ones.
"""

import math
from typing import TypeVar, final

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.functional import pad

from nelbo.errors import BadInput

__all__ = [
    "EXACT",
    "LARGEST",
    "UNIT",
    "WIDE",
    "WORD",
    "Convolution",
    "Norm",
    "Table",
    "floor_root",
    "part",
]

EXACT = 2**53
"""Whole numbers below it are float64 numbers, and so are their sums."""

WORD = 2**63
"""Whole numbers below it are int64 numbers."""

LARGEST = 2**15 - 1
"""The largest magnitude of an activation between two layers."""

UNIT = 11
"""Bits behind the point of a normalised value, which is kept within +-16."""

WIDE = 20
"""Bits behind the point of what a normalised value is multiplied by."""


def require(layer: str, what: str, value: int, limit: int) -> None:
    """Refuses a layer whose declared ranges let a number reach the limit.

    Raises:
        BadInput: it may be reached; the message names the layer and both numbers.
    """
    if value >= limit:
        raise BadInput(
            f"the layer {layer} is not exact in integers: {what} may reach 2^"
            f"{math.log2(value):.1f}, and the limit is 2^{math.log2(limit):.0f}; use fewer bits or "
            "channels"
        )


def magnitude(x: Int64[Tensor, "*dims"]) -> int:
    """max |x| as one of Python's numbers: in int64 that of -2^63 would be negative."""
    return max(int(x.max()), -int(x.min()))


def rounded(x: Int64[Tensor, "*dims"], bits: int) -> Int64[Tensor, "*dims"]:
    """floor(x / 2^bits + 1/2), kept within +-LARGEST."""
    return ((x + ((1 << bits) >> 1)) >> bits).clamp(-LARGEST, LARGEST)


def floor_root(x: Int64[Tensor, "*dims"]) -> Int64[Tensor, "*dims"]:
    """floor(sqrt(x)) of 0 <= x < 2^62; the root in float64 may be off by one, and is corrected."""
    root = x.double().sqrt().long()
    root -= (root * root > x).long()
    return root + ((root + 1) * (root + 1) <= x).long()


Kind = TypeVar("Kind", bound=nn.Module)


def part(kind: type[Kind], module: nn.Module) -> Kind:
    """The module, which is of this kind.

    Raises:
        BadInput: it is of another, which has no form in whole numbers.
    """
    if not isinstance(module, kind):
        raise BadInput(
            f"there is no integer twin of {type(module).__name__} in the place of a {kind.__name__}"
        )
    return module


@final
class Table(nn.Module):
    """values[x + half] for whole numbers x in -half .. half - 1, the nearest of them for others."""

    values: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(size, dtype=torch.int16))

    def forward(self, x: Int64[Tensor, "*dims"]) -> Int64[Tensor, "*dims"]:
        half = len(self.values) // 2
        return self.values[x.clamp(-half, half - 1) + half].long()

    @property
    def most(self) -> int:
        """The largest magnitude in the table."""
        return int(self.values.long().abs().max())


@final
class Convolution(nn.Module):
    """floor((sum of w a + b) m / 2^s + 1/2) within +-LARGEST, m of each output channel.

    a: (B, in, H, W) whole numbers; the result (B, out, H', W'). `layer` is its name in messages.
    """

    weight: Tensor
    bias: Tensor
    factor: Tensor
    shift: Tensor

    def __init__(self, layer: str, like: nn.Conv2d) -> None:
        super().__init__()
        self.layer, self.kernel, self.stride = layer, like.kernel_size, like.stride
        self.padding = (int(like.padding[0]), int(like.padding[1]))
        outputs = like.out_channels
        self.register_buffer("weight", torch.zeros(like.weight.shape, dtype=torch.int16))
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.int64))
        self.register_buffer("factor", torch.zeros(outputs, dtype=torch.int64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.int64))

    def forward(self, a: Int64[Tensor, "B C H W"], kind: torch.dtype) -> Int64[Tensor, "B O h w"]:
        """kind: the dtype that products are summed in, float64 or int64: the result is one."""
        (above, left), (down, right) = self.padding, self.stride
        height, width = self.kernel
        padded = pad(a.to(kind), (left, left, above, above))
        rows, columns = (
            (padded.shape[2] - height) // down + 1,
            (padded.shape[3] - width) // right + 1,
        )
        shifted = [
            padded[:, :, y : y + down * rows : down, x : x + right * columns : right]
            for y in range(height)
            for x in range(width)
        ]
        inputs = torch.stack(shifted, 1).reshape(len(a), -1, rows * columns)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1).to(kind)
        sums = (weight @ inputs).long().reshape(len(a), -1, rows, columns)
        sums += self.bias[:, None, None]
        return rounded(sums * self.factor[:, None, None], int(self.shift))

    def fill(
        self, real: nn.Conv2d, bits: int, step: float, out: float, most: int = LARGEST
    ) -> None:
        """Weights and bias for inputs of this step, at most `most`; outputs of the step `out`."""
        weight = real.weight.double().cpu()
        largest = weight.abs().flatten(1).amax(1)
        per = torch.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
        self.weight.copy_((weight / per[:, None, None, None]).round())
        assert real.bias is not None
        self.bias.copy_((real.bias.double().cpu() / (per * step)).round())
        ratio = per * step / out
        reach = (torch.tensor(self.sums_below(most), dtype=torch.float64) * ratio).max()
        self.shift.fill_(max(0, min(40, 61 - math.ceil(math.log2(max(float(reach), 1.0))))))
        self.factor.copy_((ratio * 2.0 ** int(self.shift)).round())

    def sums_below(self, most: int) -> list[int]:
        """sum |w| max |a| + |b| of each output channel, where |a| <= most; no bias overflows it."""
        weights = self.weight.long().abs().flatten(1).sum(1).tolist()
        return [w * most + abs(b) for w, b in zip(weights, self.bias.tolist(), strict=True)]

    def check(self, most: int) -> int:
        """The largest magnitude of the result where |a| <= most.

        Raises:
            BadInput: a sum is not exact, by declared ranges; a shift that no int64 has.
        """
        sums, shift = self.sums_below(most), int(self.shift)
        require(self.layer, "a sum of products", max(sums), EXACT)
        if not 0 <= shift < WORD.bit_length():
            raise BadInput(f"the layer {self.layer} shifts by {shift} bits: give 0..63")
        half = (1 << shift) >> 1
        products = (s * abs(int(m)) for s, m in zip(sums, self.factor, strict=True))
        require(self.layer, "a rescaled sum", max(products) + half, WORD)
        return LARGEST


@final
class Norm(nn.Module):
    """y A + B of each channel, y the group's (h - mean) / sqrt(var + eps), to a table's index.

    With n values in a group y = (n h - sum h) / sqrt(n sum h^2 - (sum h)^2 + E) holds in whole
    numbers but for the root and the quotient, which are rounded down. A and B may differ from one
    time to another: rows of them.
    """

    scale: Tensor
    offset: Tensor
    eps: Tensor

    def __init__(self, layer: str, like: nn.GroupNorm, pixels: int, rows: int) -> None:
        super().__init__()
        self.layer, self.groups = layer, like.num_groups
        self.n = like.num_channels // like.num_groups * pixels
        for name in ("scale", "offset"):
            empty = torch.zeros(rows, like.num_channels, dtype=torch.int64)
            self.register_buffer(name, empty)
        self.register_buffer("eps", torch.zeros((), dtype=torch.int64))

    @property
    def finer(self) -> int:
        """Bits by which the root is made finer, so many that its argument stays below 2^62."""
        return max(0, (61 - (self.n * LARGEST).bit_length() * 2) // 2)

    def forward(
        self, h: Int64[Tensor, "B C H W"], row: Int64[Tensor, " B"]
    ) -> Int64[Tensor, "B C H W"]:
        grouped = h.reshape(len(h), self.groups, -1)
        sums = grouped.sum(-1, keepdim=True)
        spread = self.n * (grouped * grouped).sum(-1, keepdim=True) - sums * sums
        root = floor_root((spread << (2 * self.finer)) + self.eps)
        above = (self.n * grouped - sums) << (UNIT + self.finer)
        y = torch.div(above, root, rounding_mode="floor").clamp(-LARGEST, LARGEST)
        at = row if len(self.scale) > 1 else torch.zeros_like(row)
        scale, offset = self.scale[at], self.offset[at]
        y = y.reshape(h.shape)
        return rounded(y * scale[:, :, None, None] + offset[:, :, None, None], WIDE)

    def fill(
        self, real: nn.GroupNorm, step: float, point: int, gain: Tensor, shift: Tensor
    ) -> None:
        """Rows of scales for inputs of this step: y gain + shift, with `point` bits behind it."""
        self.scale.copy_((gain.double() * 2.0 ** (point - UNIT + WIDE)).round())
        self.offset.copy_((shift.double() * 2.0 ** (point + WIDE)).round())
        eps = real.eps * (self.n / step) ** 2 * 4.0**self.finer
        self.eps.fill_(max(1, round(eps)))

    def check(self, most: int) -> int:
        """The largest magnitude of the result where |h| <= most.

        Raises:
            BadInput: a number does not fit, by declared ranges; an E that lets the root be 0.
        """
        spread = self.n * self.n * most * most << (2 * self.finer)
        require(self.layer, "the argument of a square root", spread + int(self.eps), 2**62)
        require(self.layer, "a numerator", 2 * self.n * most << (UNIT + self.finer), WORD)
        scaled = LARGEST * magnitude(self.scale) + magnitude(self.offset)
        require(self.layer, "a scaled value", scaled + 2**WIDE, WORD)
        if int(self.eps) < 1:
            raise BadInput(f"the layer {self.layer} divides by zero: its eps is {int(self.eps)}")
        return LARGEST
