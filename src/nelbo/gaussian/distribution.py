"""N(mean, variance), independent over dimensions, carried as mean and log-variance."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Noise
from nelbo.types import Batch, Nats

__all__ = ["Gaussian"]


@final
@dataclass(frozen=True)
class Gaussian(StepDistribution):
    """N(mean, exp(log_var)); log_var broadcasts against mean, (B, 1, ..., 1) in most chains."""

    mean: Batch
    log_var: Float[Tensor, "..."]

    def sample(self, noise: Noise) -> Batch:
        return self.mean + torch.exp(0.5 * self.log_var) * noise.normal(self.mean)

    def log_prob(self, x: Batch) -> Nats:
        squares = (x - self.mean).square() * torch.exp(-self.log_var)
        return -0.5 * _sum(squares + self.log_var + math.log(2 * math.pi))

    def kl(self, other: "Gaussian") -> Nats:
        # r - 1 - log r, where r is the variance ratio
        shape = _exp_beyond_linear(self.log_var - other.log_var)
        shift = (self.mean - other.mean).square() * torch.exp(-other.log_var)
        return 0.5 * _sum(shape + shift)


def _exp_beyond_linear(x: Tensor) -> Tensor:
    """exp(x) - 1 - x, by its series near 0, where the difference would cancel."""
    near = x.abs() < 0.25
    small = torch.where(near, x, 0)
    series = torch.ones_like(x)
    for n in range(12, 2, -1):  # x^2/2 (1 + x/3 (1 + x/4 (1 + ...))): 17 digits at 0.25
        series = 1 + small / n * series
    return torch.where(near, 0.5 * small.square() * series, torch.expm1(x) - x)


def _sum(x: Tensor) -> Nats:
    return x.flatten(1).sum(1)
