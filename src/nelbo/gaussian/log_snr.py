"""lambda(u), the log SNR along the unit interval: a straight line, or one that is learned.

Kingma, Salimans, Poole, Ho 2021, "Variational Diffusion Models", section 3 and appendix I.2.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from nelbo.errors import BadInput
from nelbo.gaussian.schedule import Schedule, from_log_snr

__all__ = ["Curve", "FixedLogSNR", "LearnedLogSNR", "LogSNR", "Points"]

Points = Float64[Tensor, " B"]
"""u, or a function of it, one for each example."""


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """lambda(u) = lambda_0 + (lambda_1 - lambda_0) w(u) and d lambda/du, at each example's u.

    `ends` is (lambda_0, lambda_1); w rises from 0 to 1, and `w_slope` is dw/du.
    """

    ends: Float64[Tensor, "2"]
    w: Points
    w_slope: Points

    @property
    def log_snr(self) -> Points:
        """lambda(u)."""
        return self.ends[0] + (self.ends[1] - self.ends[0]) * self.w

    @property
    def derivative(self) -> Points:
        """d lambda/du, below 0."""
        return (self.ends[1] - self.ends[0]) * self.w_slope


class LogSNR(nn.Module, ABC):
    """lambda(u), falling from lambda(0) to lambda(1), in float64 whatever its weights are in."""

    name: str

    @abstractmethod
    def ends(self) -> Float64[Tensor, "2"]:
        """(lambda(0), lambda(1))."""

    @abstractmethod
    def at(self, u: Points) -> Curve:
        """lambda and its derivative at u in [0, 1]."""

    def forward(self, u: Points) -> Points:
        """lambda(u)."""
        return self.at(u).log_snr

    def derivative(self, u: Points) -> Points:
        """d lambda/du."""
        return self.at(u).derivative

    @torch.no_grad()
    def schedule(self, T: int) -> Schedule:
        """The schedule of T latents at u = (t - 1)/(T - 1), t = 1..T: x_1 is x at u = 0.

        Raises:
            BadInput: T < 2; ends beyond what `from_log_snr` takes.
        """
        if T < 2:
            raise BadInput(f"a log SNR between two ends needs at least 2 steps; got T = {T}")
        return from_log_snr(self(torch.linspace(0, 1, T, dtype=torch.float64)).tolist(), self.name)


@final
class FixedLogSNR(LogSNR):
    """lambda(u) = first + (last - first) u.

    Raises:
        BadInput: not 300 >= first > last >= -300.
    """

    name = "log-snr-linear"

    def __init__(self, first: float = 9.2, last: float = -9.0) -> None:
        super().__init__()
        from_log_snr([first, last], self.name)  # refuses what no schedule could hold
        self.first, self.last = first, last

    def ends(self) -> Float64[Tensor, "2"]:
        return torch.tensor([self.first, self.last], dtype=torch.float64)

    def at(self, u: Points) -> Curve:
        return Curve(self.ends(), u, torch.ones_like(u))


@final
class LearnedLogSNR(LogSNR):
    """w(u) = (h(u) - h(0)) / (h(1) - h(0)), h(u) = u + mean_k c_k sigmoid(a_k u + b_k), a, c > 0.

    A monotone network with one hidden layer (Kingma et al. 2021, appendix H, where the first term
    has a weight; h is divided by its range, so c takes it up). lambda falls for any weights: its
    slope is never 0, and each end keeps to its own side of the middle that it began with,
    lambda_0 = middle + softplus(above), lambda_1 = middle - softplus(below). Starts from
    `first` and `last` with w nearly even. The weights a, b, c are the interior, above and below
    the ends, with a gradient of another kind (`training_loss`).

    Raises:
        BadInput: not 300 >= first > last >= -300.
    """

    name = "learned"

    def __init__(self, first: float = 9.2, last: float = -9.0, width: int = 1024) -> None:
        super().__init__()
        from_log_snr([first, last], self.name)
        self.middle = (first + last) / 2
        half = torch.tensor((first - last) / 2)
        self.above = nn.Parameter(_softplus_inverse(half))
        self.below = nn.Parameter(_softplus_inverse(half))
        steepness = torch.full((width,), 8.0)
        self.a = nn.Parameter(_softplus_inverse(steepness))
        self.b = nn.Parameter(-steepness * (torch.arange(width) + 0.5) / width)
        self.c = nn.Parameter(_softplus_inverse(torch.ones(width)))

    def ends(self) -> Float64[Tensor, "2"]:
        distance = nn.functional.softplus(torch.stack([self.above, self.below]).double())
        return torch.stack([self.middle + distance[0], self.middle - distance[1]])

    def at(self, u: Points) -> Curve:
        a, c = (nn.functional.softplus(weight.double()) for weight in (self.a, self.c))
        # The ends go the same way as the rest, so that w(0) = 0 and w(1) = 1 to the last digit.
        points = torch.cat([u.new_tensor([0.0, 1.0]), u]).to(a.device)
        gate = torch.sigmoid(a * points[:, None] + self.b.double())
        h = points + (c * gate).mean(1)
        slope = 1 + (a * c * gate * (1 - gate)).mean(1)
        rise = h[1] - h[0]
        return Curve(self.ends(), (h[2:] - h[0]) / rise, slope[2:] / rise)


def _softplus_inverse(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))
