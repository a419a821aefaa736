"""Where in an example the bits are: by position, as a picture of pixels, and as spans of a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.errors import printable
from nelbo.report.plots import NORMAL
from nelbo.report.ranking_plots import Curve, Curves

__all__ = ["Span", "by_position", "pixel_levels", "spans"]

POINTS = 64  # of a curve over positions; more, and each is the mean of neighbours
LENGTH = 32  # symbols of a span
LISTED = 5  # spans of each end


@final
@dataclass(frozen=True)
class Span:
    """Some symbols of a window as text, what one of them costs on average, and where they are."""

    text: str
    value: str
    where: str


def by_position(
    bits: Float64[Tensor, "N *dims"], counted: Tensor, how: str
) -> tuple[Curves, list[str]]:
    """(the mean bits of each position, or of each row of pixels, over the examples; the name).

    counted: where a position is no part of what is given; how: what the examples and orders are.
    """
    image = bits.ndim == 4
    groups = bits.shape[2] if image else min(POINTS, bits.shape[1])
    total, number = (_grouped(part.double(), image, groups) for part in (bits * counted, counted))
    each = total / number.clamp(min=1)
    known = number > 0
    seen = known.sum(0).clamp(min=1).double()
    mean = each.sum(0) / seen
    spread = (((each - mean) * known).square().sum(0) / (seen - 1).clamp(min=1)).sqrt()
    half = torch.where(seen > 1, NORMAL * spread / seen.sqrt(), torch.nan)
    size = 1.0 if image else bits.shape[1] / groups
    x = np.array([(g + 0.5) * size - 0.5 for g in range(groups)], np.float64)
    place = "row" if image else "position"
    labels = _labels(groups, size)
    laid = Curves(
        title=f"Bits by {place}",
        meaning=f"What a {'pixel of a row' if image else 'position'} costs on average, given what "
        "is revealed before it: hardest where the curve is high.",
        x=f"{place}, from 0",
        y=f"bits of {'a pixel' if image else 'a symbol'}",
        curves=[Curve(0, x, mean.numpy(), half.numpy(), labels)],
        absent=(),
        notes=[f"{how} Band: 95 %, between examples."],
    )
    return laid, ["this model"]


def _grouped(values: Float64[Tensor, "N *dims"], image: bool, groups: int) -> Tensor:
    """Sums over the pixels of each row, or over neighbouring positions: (N, groups)."""
    if image:
        return values.sum((1, 3))
    places = values.shape[1]
    group = torch.arange(places) * groups // places
    return torch.zeros(len(values), groups, dtype=values.dtype).index_add_(1, group, values)


def _labels(groups: int, size: float) -> list[str]:
    """The positions of each group, as a table names them."""
    ends = [(int(np.ceil(g * size)), int(np.ceil((g + 1) * size)) - 1) for g in range(groups)]
    return [f"{a}" if a == b else f"{a}–{b}" for a, b in ends]


def pixel_levels(bits: Float64[Tensor, "N C H W"]) -> Int64[Tensor, "1 1 H W"]:
    """The mean over examples and channels, 0 black and the largest 255."""
    mean = bits.mean((0, 1)).clamp(min=0)
    share = mean / mean.max() if mean.any() else mean
    return (255 * share).round().long()[None, None]


def spans(
    bits: Float64[Tensor, "N L"],
    levels: Int64[Tensor, "N L"],
    ids: Sequence[int],
    decode: Callable[[Sequence[int]], bytes],
) -> tuple[list[Span], list[Span]]:
    """(the easiest spans, the hardest, each kind from its end on), of symbols that all count."""
    length = min(LENGTH, bits.shape[1])
    some = bits.shape[1] // length * length
    mean = bits[:, :some].reshape(len(bits), -1, length).mean(2)
    counted = (levels[:, :some] >= 0).reshape(len(bits), -1, length).all(2)
    window, place = counted.nonzero(as_tuple=True)
    order = mean[window, place].argsort(stable=True)
    count = min(LISTED, len(order) // 2) or len(order)

    def of(k: int) -> Span:
        w, begin = int(window[k]), int(place[k]) * length
        text = decode(levels[w, begin : begin + length].tolist()).decode(errors="replace")
        text = printable(text, lines=True)
        value = f"{float(mean[w, place[k]]):.2f}"
        return Span(text, value, f"window {ids[w]}, from symbol {begin}")

    return [of(int(k)) for k in order[:count]], [of(int(k)) for k in order.flip(0)[:count]]
