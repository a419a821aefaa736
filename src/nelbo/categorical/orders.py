"""In which order the positions of an image or of a sequence are revealed, and in which groups.

An order is a permutation of the D positions of an example, counted as its values lie in memory:
channels, then rows, then columns, or left to right in a sequence. The positions of one group are
revealed by one call of the network, which sees every earlier group. All are integers, the same on
any machine and with any version of the libraries.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from nelbo import arguments
from nelbo.errors import BadInput, closest, printable
from nelbo.files import MiB, read

__all__ = ["FORMS", "NAMED", "Order", "groups", "read_order"]

FORMS = "raster, dispersed, left-to-right, random:SEED, or a file of positions"
LARGEST = 256 * MiB  # of a file: 20 million positions and more
SEEDS = 2**64

Positions = NDArray[np.int64]
Shape = tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Order:
    """The positions 0..D-1 of an example of this shape, the first to be revealed first.

    name: `raster`, `random:3`, or the file that it came from. Two orders are equal where the shapes
    and the positions are.

    Raises:
        BadInput: the positions are no permutation of 0..D-1: the first that is wrong, by name.
    """

    name: str
    shape: Shape
    positions: Int64[Tensor, " D"]

    def __post_init__(self) -> None:
        D = math.prod(self.shape)
        outside = (self.positions < 0) | (self.positions >= D)
        if outside.any():
            wrong = f"{int(self.positions[outside][0])} is none of 0..{D - 1}"
        elif len(self.positions) != D:
            wrong = f"it has {len(self.positions)} positions"
        elif len(twice := (self.positions.bincount(minlength=D) > 1).nonzero()):
            wrong = f"{int(twice[0])} stands in it more than once"
        else:
            return
        raise BadInput(
            f"{printable(self.name)} is no order of the {D} positions of an example of shape "
            f"{list(self.shape)}: {wrong}; each of 0..{D - 1} must stand in it once"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Order):
            return NotImplemented
        return self.shape == other.shape and torch.equal(self.positions, other.positions)

    def __hash__(self) -> int:
        return hash((self.shape, self.positions.numpy().tobytes()))


def raster(shape: Shape) -> Positions:
    """Row by row, pixel by pixel, the channels of a pixel one after another."""
    channels, height, width = _as_image(shape)
    return np.arange(channels * height * width).reshape(channels, -1).T.reshape(-1)


def left_to_right(shape: Shape) -> Positions:
    """0, 1, ..., D - 1.

    Raises:
        BadInput: the example is no sequence.
    """
    if len(shape) != 1:
        raise BadInput(
            f"left-to-right is an order of a sequence, and an example has the shape {list(shape)}: "
            "give raster, which is row by row"
        )
    return raster(shape)


def dispersed(shape: Shape) -> Positions:
    """By the rank in a Bayer matrix: the first HW / 4^j pixels are at least 2^j apart.

    The matrix is the smallest of 2^m x 2^m that covers the image, with what lies outside left out.
    Each channel has the same order of pixels and begins HW / C ranks after the channel before it,
    round a circle: C calls or more never reveal two channels of a pixel together. Where ranks are
    equal the channels come in their own order. A sequence is an image of one row.
    Source: Bayer 1973, "An optimum method for two-level rendition of continuous-tone pictures".
    """
    channels, height, width = _as_image(shape)
    y, x = np.indices((height, width), dtype=np.int64)
    bits = max(height - 1, width - 1, 0).bit_length()
    bayer = np.zeros((height, width), dtype=np.int64)
    for b in range(bits):  # the lowest bit of a coordinate weighs most
        bayer = 4 * bayer + 2 * ((x ^ y) >> b & 1) + (y >> b & 1)
    pixels = height * width
    rank = np.argsort(np.argsort(bayer, axis=None, kind="stable"), kind="stable")
    later = np.arange(channels)[:, None] * pixels // channels
    return np.argsort((rank + later) % pixels, axis=None, kind="stable")


def random(shape: Shape, seed: int) -> Positions:
    """Evenly from all orders, by the raw words of Philox, which no version of NumPy changes.

    Raises:
        BadInput: a seed outside 0..2^64 - 1.
    """
    if not 0 <= seed < SEEDS:
        raise BadInput(f"the seed of a random order must lie in 0..{SEEDS - 1}; got {seed}")
    words = np.random.Philox(key=seed).random_raw(math.prod(shape))
    return np.argsort(words, kind="stable")


NAMED: dict[str, Callable[[Shape], Positions]] = {
    "raster": raster,
    "dispersed": dispersed,
    "left-to-right": left_to_right,
}
"""The orders that have a name, which is all that they need beside the shape."""


def read_order(text: str, shape: Sequence[int]) -> Order:
    """The order that `--order` names: raster, dispersed, left-to-right, random:SEED, or a file.

    A file holds positions, counted from 0, with blanks, commas or new lines between them.
    shape: of one example: (channels, height, width), (height, width) or (length,).

    Raises:
        BadInput: none of these; a seed that is none; a file that cannot be read or holds no
            permutation of the positions; left-to-right of an image.
    """
    dims = tuple(int(size) for size in shape)
    if text in NAMED:
        positions = NAMED[text](dims)
    elif text.startswith("random:"):
        positions = random(dims, arguments.whole("the seed of a random order", _seed(text)))
    else:
        positions = _of_file(text)
    return Order(text, dims, torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64)))


def groups(order: Order, calls: object) -> list[Int64[Tensor, " g"]]:
    """The positions that each call reveals: group g holds D g / calls .. D (g + 1) / calls.

    The bounds are rounded down, so sizes differ by one at most.

    Raises:
        BadInput: calls outside 1..D.
    """
    D = len(order.positions)
    calls = arguments.whole("calls", calls, least=1)
    if calls > D:
        raise BadInput(f"{calls} calls are more than the {D} positions to reveal: give 1..{D}")
    return list(order.positions.tensor_split([D * g // calls for g in range(1, calls)]))


def _seed(text: str) -> int | str:
    seed = text.removeprefix("random:")
    return int(seed) if seed.isascii() and seed.isdecimal() else seed


def _of_file(text: str) -> Positions:
    near = closest(text, NAMED)
    if not Path(text).exists():
        hint = f"; did you mean {near}?" if near else ""
        raise BadInput(f"{printable(text)} is no order and no file: give {FORMS}{hint}")
    content = read(text, LARGEST, "order")
    words = re.split(rb"[\s,]+", content.strip(b" \t\r\n,"))
    wrong = next((word for word in words if not re.fullmatch(rb"\d{1,18}", word)), None)
    if wrong is not None:
        raise BadInput(
            f"{printable(text)} is no order: {arguments.shown(wrong.decode(errors='replace'))} is "
            "no position; it must hold whole numbers from 0 on, with blanks or commas between"
        )
    return np.array([int(word) for word in words], dtype=np.int64)


def _as_image(shape: Shape) -> tuple[int, int, int]:
    """Channels, height and width of the shape of an example.

    Raises:
        BadInput: it has more than three dimensions, or one without a position.
    """
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise BadInput(
            "an order needs an example of shape (channels, height, width), (height, width) or "
            f"(length,); got {list(shape)}"
        )
    channels, height, width = (1, 1, *shape)[-3:]
    return channels, height, width
