"""Where along log SNR the terms of t = 2..T are: at the steps of a chain, or anywhere between."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from nelbo.gaussian.log_snr import LogSNR
from nelbo.gaussian.schedule import Schedule
from nelbo.types import Time

__all__ = ["Along", "Between", "Moment", "Steps"]

Moment: TypeAlias = Shaped[Tensor, " B"]
"""When each term is formed: at t of a chain, in the limit at a real number within (t - 1, t)."""


class Along(ABC):
    """The log SNR of each term, and its weight: the term is weight |x_0 - x0-hat|^2.

    schedule: of the chain whose steps t = 2..T are, or are cut into ever more.
    """

    schedule: Schedule

    @abstractmethod
    def moment(self, t: Time, place: Float64[Tensor, " B"]) -> Moment:
        """The time of the term of t that is at this place, uniform on (0, 1), of its step."""

    @abstractmethod
    def log_snr(self, t: Moment) -> Float64[Tensor, " B"]:
        """log SNR there."""

    @abstractmethod
    def deviation(self, t: Moment) -> Float64[Tensor, " B"]:
        """sqrt(1 - alpha_bar), that of the noise in x_t."""

    @abstractmethod
    def weight(self, t: Moment) -> Float64[Tensor, " B"]:
        """Of |x_0 - x0-hat|^2, in nats; the mean over the places of a step is the step's term."""

    @abstractmethod
    def affine(
        self, variance: Float64[Tensor, " D"]
    ) -> tuple[Float64[Tensor, "transitions D"], Float64[Tensor, "transitions D"]]:
        """For each t the sums of weight (1 - g)^2 and weight g^2 / SNR, g = v SNR / (1 + v SNR).

        v is the variance. The error of the best affine denoiser is (1 - g) u - g eps / sqrt(SNR)
        along an axis in which the data are u from their mean.
        """


@final
@dataclass(frozen=True, eq=False)
class Steps(Along):
    """Of a chain: weight_t = (SNR_{t-1} - SNR_t) / 2."""

    schedule: Schedule

    def moment(self, t: Time, place: Float64[Tensor, " B"]) -> Moment:
        return t

    def log_snr(self, t: Moment) -> Float64[Tensor, " B"]:
        return self.schedule.log_snr[t]

    def deviation(self, t: Moment) -> Float64[Tensor, " B"]:
        return self.schedule.one_minus_alpha_bar[t].sqrt()

    def weight(self, t: Moment) -> Float64[Tensor, " B"]:
        snr = self.schedule.log_snr.exp()
        return 0.5 * (snr[t - 1] - snr[t])

    def affine(
        self, variance: Float64[Tensor, " D"]
    ) -> tuple[Float64[Tensor, "transitions D"], Float64[Tensor, "transitions D"]]:
        t = torch.arange(2, self.schedule.T + 1)
        snr, weight = self.schedule.log_snr[t, None].exp(), self.weight(t)[:, None]
        left = 1 / (1 + variance * snr)
        return weight * left.square(), weight * (variance * left).square() * snr


@final
@dataclass(frozen=True, eq=False)
class Between(Along):
    """Of infinitely many steps: u = (t - 1)/(T - 1) for real t, weight -1/2 SNR'(u) / (T - 1).

    curve: on whose T even points the schedule is.
    """

    schedule: Schedule
    curve: LogSNR

    def u(self, t: Moment) -> Float64[Tensor, " B"]:
        """The place of these times on [0, 1]."""
        return (t.double() - 1) / (self.schedule.T - 1)

    def moment(self, t: Time, place: Float64[Tensor, " B"]) -> Moment:
        return t - 1 + place

    def log_snr(self, t: Moment) -> Float64[Tensor, " B"]:
        return self.curve.at(self.u(t)).log_snr.cpu()

    def deviation(self, t: Moment) -> Float64[Tensor, " B"]:
        return torch.sigmoid(-self.log_snr(t)).sqrt()

    def weight(self, t: Moment) -> Float64[Tensor, " B"]:
        curve = self.curve.at(self.u(t))
        slope = -0.5 * curve.derivative * curve.log_snr.exp()
        return slope.cpu() / (self.schedule.T - 1)

    def affine(
        self, variance: Float64[Tensor, " D"]
    ) -> tuple[Float64[Tensor, "transitions D"], Float64[Tensor, "transitions D"]]:
        """Half the integrals of 1/(1 + v S)^2 and v^2 S/(1 + v S)^2 over the S of each step."""
        snr = self.schedule.log_snr.exp()
        above, below = snr[1:-1, None], snr[2:, None]
        left, before = 1 / (1 + variance * below), 1 / (1 + variance * above)
        sure = (above - below) * left * before
        random = torch.log1p(variance * (above - below) * left) - variance * sure
        return 0.5 * sure, 0.5 * random
