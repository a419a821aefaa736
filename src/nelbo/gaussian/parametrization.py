"""What the network's output means: the noise, the data, the velocity, or the data's levels.

Each parametrisation turns an output into x0-hat, the model's estimate of the data, and can make
the output that would be exactly right (`target`), so each is a pair of inverse formulas.
A formula takes alpha_bar as numbers, from a schedule's table or from a log SNR in continuous time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from nelbo.gaussian.schedule import Schedule, at
from nelbo.types import Batch, Grid, Time

__all__ = [
    "EPS",
    "PARAMETRIZATIONS",
    "X_0",
    "Levels",
    "Linear",
    "Output",
    "Parametrization",
    "V",
]

Output: TypeAlias = Shaped[Tensor, "B ..."]
"""What the network gives, or a part of it: its own number of channels, else shaped like x_t."""


class Parametrization(ABC):
    """A reading of the network's output."""

    name: str
    outputs: int
    """Network channels per data channel."""

    @abstractmethod
    def x_0_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Batch:
        """x0-hat, shaped like x_t; output has `outputs` channels for each of x_t's.

        alpha_bar and 1 - alpha_bar are given apart, since either may be tiny; (B, 1, ..., 1).
        """

    def x_0(self, output: Output, x_t: Batch, t: Time, schedule: Schedule) -> Batch:
        """x0-hat at the schedule's t."""
        return self.x_0_given(output, x_t, *_tables(schedule, t, x_t))


def _tables(schedule: Schedule, t: Time, x_t: Batch) -> tuple[Tensor, Tensor]:
    """alpha_bar_t and 1 - alpha_bar_t, to broadcast against x_t."""
    return at(schedule.alpha_bar, t, x_t), at(schedule.one_minus_alpha_bar, t, x_t)


Formula = Callable[[Tensor, Tensor, Tensor | float, Tensor | float], Tensor]


@final
@dataclass(frozen=True)
class Linear(Parametrization):
    """An output linear in (x_0, eps), with a = sqrt(alpha_bar_t), s = sqrt(1 - alpha_bar_t).

    target(x_0, eps, a, s) is the output that is exactly right, estimate(x_t, output, a, s) its
    inverse. `divides` says whether the inverse divides by a, which is 0 at zero terminal SNR.
    """

    name: str
    target: Formula
    estimate: Formula
    divides: bool = False
    outputs: int = 1

    def x_0_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Batch:
        return self.estimate(x_t, output, alpha_bar.sqrt(), one_minus_alpha_bar.sqrt())

    def error(self, x_0: Batch, eps: Batch, output: Output, a: Tensor, s: Tensor) -> Batch:
        """x_0 - x0-hat = r (target - output), r = d x0-hat / d output, at x_t = a x_0 + s eps.

        So formed it keeps its digits where it is small beside x_0.
        """
        r = self.estimate(torch.zeros_like(a), torch.ones_like(a), a, s)
        error: Batch = r * (self.target(x_0, eps, a, s) - output)
        return error


Number = Tensor | float


# Functions by name, not lambdas: a model that holds them can be pickled.
def _eps(x_0: Tensor, eps: Tensor, a: Number, s: Number) -> Tensor:
    return eps


def _of_eps(x_t: Tensor, output: Tensor, a: Number, s: Number) -> Tensor:
    return (x_t - s * output) / a


def _x_0(x_0: Tensor, eps: Tensor, a: Number, s: Number) -> Tensor:
    return x_0


def _of_x_0(x_t: Tensor, output: Tensor, a: Number, s: Number) -> Tensor:
    return output


def _v(x_0: Tensor, eps: Tensor, a: Number, s: Number) -> Tensor:
    return a * eps - s * x_0


def _of_v(x_t: Tensor, output: Tensor, a: Number, s: Number) -> Tensor:
    return a * x_t - s * output


EPS = Linear("eps", target=_eps, estimate=_of_eps, divides=True)
X_0 = Linear("x_0", target=_x_0, estimate=_of_x_0)
V = Linear("v", target=_v, estimate=_of_v)  # Salimans and Ho 2022
PARAMETRIZATIONS = {p.name: p for p in (EPS, X_0, V)}


@final
@dataclass(frozen=True)
class Levels(Parametrization):
    """log p(level k | x_t) = logit_k + log N(x_t; sqrt(alpha_bar_t) v_k, 1 - alpha_bar_t) + const.

    The network gives logits over the data's n levels for each dimension, a learned prior; the
    likelihood of x_t under each level is known exactly, so at high SNR the lattice of the data
    costs the network nothing. x0-hat is the mean of this posterior, and at t = 1 the posterior
    is the decoder. Source: D3PM's x_0-logits (Austin et al. 2021, section 3.3) with VDM's exact
    decoder likelihood (Kingma et al. 2021, eq. 7) at every t.

    Output channels: n for each data channel, as (B, C n, ...).
    """

    grid: Grid
    name: str = "levels"

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.grid.n

    def log_posterior(
        self, output: Output, x_t: Batch, t: Time, schedule: Schedule
    ) -> Float[Tensor, "B C n *inner"]:
        """log p(level | x_t), normalised over the n levels of each dimension (axis 2)."""
        return self.log_posterior_given(output, x_t, *_tables(schedule, t, x_t))

    def log_posterior_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Float[Tensor, "B C n *inner"]:
        """log p(level | x_t) for these values of alpha_bar and 1 - alpha_bar."""
        return torch.log_softmax(self._logits(output, x_t, alpha_bar, one_minus_alpha_bar), dim=2)

    def x_0_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Batch:
        logits = self._logits(output, x_t, alpha_bar, one_minus_alpha_bar)
        if logits.dtype != x_t.dtype:  # from the level nearest to x_t, as far as others are likely
            near, _ = self._nearest(x_t, alpha_bar, one_minus_alpha_bar)
            beside = (torch.softmax(logits, dim=2) * self._apart(near, logits.dtype)).sum(2)
            return self.grid.values(near, x_t.dtype) + self.grid.spacing * beside
        posterior = torch.softmax(logits, dim=2).reshape(*logits.shape[:3], -1)
        return (self._values(logits).flatten() @ posterior).reshape(x_t.shape)

    def _logits(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Float[Tensor, "B C n *inner"]:
        """Those of the posterior, in two passes over all levels: of 256 each pass counts.

        In the output's dtype, in three passes where that is less than x_t's: see `_distance`.
        """
        prior = output.reshape(len(x_t), x_t.shape[1], self.grid.n, *x_t.shape[2:])
        if prior.dtype != x_t.dtype:
            distance = self._distance(x_t, alpha_bar, one_minus_alpha_bar, prior.dtype)
            return torch.addcmul(prior, distance, distance, value=-0.5)
        deviation = one_minus_alpha_bar.sqrt()
        place = (alpha_bar.sqrt() / deviation).unsqueeze(2) * self._values(prior)
        distance = (x_t / deviation).unsqueeze(2) - place
        return torch.addcmul(prior, distance, distance, value=-0.5)

    def _distance(
        self,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
        dtype: torch.dtype,
    ) -> Float[Tensor, "B C n *inner"]:
        """(x_t - sqrt(alpha_bar) v_k) / sqrt(1 - alpha_bar), counted from the level nearest to x_t.

        What is left of x_t beside that level is small and exact, and the other levels are whole
        spacings from it: float32 holds both to its last digit at any SNR.
        """
        near, left = self._nearest(x_t, alpha_bar, one_minus_alpha_bar)
        spacing = (self.grid.spacing * (alpha_bar / one_minus_alpha_bar).sqrt()).to(dtype)
        apart = self._apart(near, dtype)
        return torch.addcmul(left.to(dtype).unsqueeze(2), apart, spacing.unsqueeze(2), value=-1)

    def _nearest(
        self, x_t: Batch, alpha_bar: Tensor, one_minus_alpha_bar: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The level nearest to x_t, and how many deviations x_t is from it."""
        near = self.grid.levels(x_t / alpha_bar.sqrt())
        centre = alpha_bar.sqrt() * self.grid.values(near, x_t.dtype)
        return near, (x_t - centre) / one_minus_alpha_bar.sqrt()

    def _apart(self, near: Tensor, dtype: torch.dtype) -> Float[Tensor, "B C n *inner"]:
        """How many levels each is above the given one."""
        number = torch.arange(self.grid.n, device=near.device, dtype=dtype)
        return number.reshape(-1, *(1,) * (near.ndim - 2)) - near.to(dtype).unsqueeze(2)

    def _values(self, like: Tensor) -> Tensor:
        levels = torch.arange(self.grid.n, device=like.device)
        return self.grid.values(levels, like.dtype).reshape(-1, *(1,) * (like.ndim - 3))
