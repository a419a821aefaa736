"""Runge-Kutta of order 5(4) whose step each row chooses itself (Dormand and Prince 1980).

By the coefficients and the rules of scipy's `solve_ivp(method="RK45")` with rtol = atol, for each
row as if it were alone: so its result is the same in any batch, where steps that a batch shares
depend on who else is in it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.errors import BadInput

__all__ = ["Slope", "rk45"]

SAFETY, LEAST, MOST = 0.9, 0.2, 10.0  # of the step that would just do; by what one may change
SHORT = 1e-6  # of a first step that the slope says nothing about
LONGEST = 10_000  # evaluations of a row: a network in float32 takes some hundreds at 1e-5

Slope = Callable[
    [Int64[Tensor, " R"], Float64[Tensor, " R"], Float64[Tensor, "R D"]], Float64[Tensor, "R D"]
]
"""(which rows, where each is, their y) -> dy of each."""


@final
@dataclass(frozen=True, eq=False)
class _Way:
    """From the first point to the last, with an error of each step below tolerance (1 + |y|)."""

    slope: Slope
    first: float
    last: float
    tolerance: float

    @property
    def length(self) -> float:
        return abs(self.last - self.first)

    @property
    def sign(self) -> float:
        return 1.0 if self.last > self.first else -1.0

    def size(self, error: Tensor, size: Tensor) -> Float64[Tensor, " R"]:
        """The root mean square of an error in units of what is tolerated at that size of y."""
        return (error / (self.tolerance * (1 + size))).square().mean(1).sqrt()

    def first_step(self, rows: Tensor, y: Tensor, slope: Tensor) -> Float64[Tensor, " R"]:
        """Hairer, Norsett and Wanner 1993, section II.4, "Starting step size"."""
        of_y, of_slope = self.size(y, y.abs()), self.size(slope, y.abs())
        small = (of_y < 1e-5) | (of_slope < 1e-5)
        trial = torch.where(small, SHORT, 0.01 * of_y / of_slope).clamp(max=self.length)
        step = self.sign * trial
        ahead = self.slope(rows, self.first + step, y + step[:, None] * slope)
        bend = self.size(ahead - slope, y.abs()) / trial
        flat = (of_slope <= 1e-15) & (bend <= 1e-15)
        short = (0.001 * trial).clamp(min=SHORT)
        wanted = torch.where(flat, short, (0.01 / torch.maximum(of_slope, bend)) ** 0.2)
        return torch.minimum(wanted, 100 * trial).clamp(max=self.length)


def rk45(
    slope: Slope, y: Float64[Tensor, "B D"], first: float, last: float, tolerance: float
) -> tuple[Float64[Tensor, "B D"], Int64[Tensor, " B"]]:
    """(y at the last point, how many times the slope of each row was evaluated).

    A row that becomes NaN or infinite ends as NaN.

    Raises:
        BadInput: a row is not done after 10,000 evaluations, as of a slope that is noise.
    """
    way = _Way(slope, first, last, tolerance)
    rows, end = torch.arange(len(y), device=y.device), y.clone()
    evaluations = torch.full_like(rows, 2)
    at, k_1 = torch.full_like(y[:, 0], first), slope(rows, torch.full_like(y[:, 0], first), y)
    step, refused = way.first_step(rows, y, k_1), torch.zeros_like(rows, dtype=torch.bool)
    while len(rows):
        if int(evaluations.max()) > LONGEST:
            raise BadInput(
                f"RK45 at {tolerance:g} is not at its end after {LONGEST:,} evaluations of the "
                "ODE: the network's output is rounded or noisy beyond that; solver rk4 takes even "
                "steps whatever it does"
            )
        evaluations[rows] += 6
        left = (last - at).abs()
        h = torch.minimum(step, left)
        there, k_7, error = _tried(way, rows, at, way.sign * h, y, k_1)
        broken = ~error.isfinite()
        good = (error < 1) | broken
        there[broken] = torch.nan
        grown = (SAFETY * error**-0.2).clamp(LEAST, MOST)  # by 10 where there is no error
        step = h * torch.where(refused, grown.clamp(max=1.0), grown)
        at = torch.where(good, torch.where(h == left, last, at + way.sign * h), at)
        y, k_1 = torch.where(good[:, None], there, y), torch.where(good[:, None], k_7, k_1)
        refused = ~good
        done = (at == last) | broken
        end[rows[done]] = y[done]
        rows, at, y, k_1, step, refused = (
            part[~done] for part in (rows, at, y, k_1, step, refused)
        )
    return end, evaluations


def _tried(
    way: _Way, rows: Tensor, at: Tensor, h: Tensor, y: Tensor, k_1: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(y after a step of each row, the slope there, the error in units of the tolerance)."""
    from scipy.integrate import RK45

    slopes = [k_1]
    for weights, place in zip(RK45.A[1:], RK45.C[1:], strict=True):
        moved = y + h[:, None] * _sum(weights, slopes)
        slopes.append(way.slope(rows, at + float(place) * h, moved))
    there = y + h[:, None] * _sum(RK45.B, slopes)
    slopes.append(way.slope(rows, at + h, there))
    error = h[:, None] * _sum(RK45.E, slopes)
    return there, slopes[-1], way.size(error, torch.maximum(y.abs(), there.abs()))


def _sum(weights: Iterable[float], slopes: list[Tensor]) -> Tensor:
    """The slopes so far by their weights, of which the later ones are 0."""
    return torch.stack([float(w) * k for w, k in zip(weights, slopes, strict=False)]).sum(0)
