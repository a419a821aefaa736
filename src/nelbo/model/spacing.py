"""Which of its T steps a shorter chain keeps."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

__all__ = ["SPACINGS", "Spacing", "evenly", "evenly_in", "quadratically"]

Spacing: TypeAlias = Callable[[int, int], Sequence[int]]
"""Which t of 1..T a chain of so many steps keeps, of (T, steps)."""

LEAST_LOG_SNR = -20.0  # below it steps differ in nothing


def evenly(T: int, steps: int) -> list[int]:
    """t = ceil(T i / steps), i = 1..steps: spread evenly over 1..T, always with T itself."""
    return [-(-T * (i + 1) // steps) for i in range(steps)]


def quadratically(T: int, steps: int) -> list[int]:
    """t = ceil(T (i / steps)^2), at least i: dense at small t (Song et al. 2021, DDIM)."""
    return [max(i, -(-T * i * i // (steps * steps))) for i in range(1, steps + 1)]


SPACINGS: dict[str, Spacing] = {"even": evenly, "quadratic": quadratically}


def evenly_in(log_snr: Float64[Tensor, " T"], steps: int) -> list[int]:
    """The t = 1..T whose log SNR are nearest to evenly spaced values, always with T itself."""
    falling = -log_snr.clamp(min=LEAST_LOG_SNR)
    wanted = torch.linspace(float(falling[0]), float(falling[-1]), steps + 1, dtype=torch.float64)
    places = torch.searchsorted(falling.contiguous(), wanted[1:]).tolist()
    kept: list[int] = []
    for number, place in enumerate(places):  # distinct, and as many after it as are still wanted
        after = kept[-1] + 1 if kept else 1
        kept.append(max(after, min(place + 1, len(log_snr) - (steps - 1 - number))))
    return kept
