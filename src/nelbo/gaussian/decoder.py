"""p_theta(x_0 | x_1): what turns the last latent into data, and the bits of L_0.

One function, `log_mass`, gives the mass of every bin, for the loss, for sampling and for coding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nelbo.bound.distribution import Distribution
from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.distribution import Gaussian
from nelbo.types import Batch, Grid, Nats

__all__ = [
    "Decoder",
    "Density",
    "Discretized",
    "DiscretizedGaussian",
    "LevelMasses",
    "LevelPosterior",
    "Prediction",
    "log_mass",
]

# Gauss-Legendre on [-1, 1] with 8 nodes, by symmetry the 4 positive ones; the weights add up to 1.
LEGENDRE = (
    (0.18343464249564980, 0.36268378337836198),
    (0.52553240991632899, 0.31370664587788729),
    (0.79666647741362674, 0.22238103445337447),
    (0.96028985649753623, 0.10122853629037626),
)


def log_mass(
    level: Int[Tensor, "*dims"],
    mean: Float[Tensor, "*dims"],
    log_var: Float[Tensor, "..."],
    grid: Grid,
) -> Float[Tensor, "*dims"]:
    """log of the mass that N(mean, exp(log_var)) puts on each level's bin.

    Computed in float64 whatever the dtype, since a bin of 16 bits is as wide as float32's rounding;
    exact in both tails and for bins of any width. The outer bins are open, decided by the level
    and not by comparing numbers, so the masses of a grid add up to 1.
    """
    number, mu, deviation = level.double(), mean.double(), torch.exp(0.5 * log_var.double())
    # Neighbours share an edge to the last digit: what one bin loses to rounding the next gains.
    lower, centre, upper = (
        _distance(number + side, mu, grid) / deviation for side in (-0.5, 0.0, 0.5)
    )
    first, last = level == 0, level == grid.n - 1
    closed, half = ~(first | last), 0.5 * grid.spacing / deviation
    narrow = closed & (half < 0.5) & (half * centre.abs() < 1)
    # Each branch gets harmless numbers where the other is taken: nothing infinite has a gradient.
    thin = _thin_bin(torch.where(narrow, centre, 0), torch.where(narrow, half, 0.25))
    mirrored = last | (closed & (centre > 0))
    high = torch.where(mirrored, -lower, upper)
    low = torch.where(closed, torch.where(mirrored, -upper, lower), -40)
    fall = torch.where(closed, -2 * half * centre.abs(), -math.inf)
    wide = _wide_bin(
        *(torch.where(narrow, safe, x) for safe, x in ((1, high), (-1, low), (0, fall)))
    )
    return torch.where(narrow, thin, wide).to(mean.dtype)


def _distance(position: Tensor, mean: Tensor, grid: Grid) -> Tensor:
    """lo + position * spacing - mean, to a relative rounding even where little of it is left."""
    exact = (Fraction(grid.hi) - Fraction(grid.lo)) / (grid.n - 1)
    unit = 2.0 ** (math.frexp(grid.spacing)[1] - 32)
    coarse = round(exact / Fraction(unit)) * unit  # 32 bits: its product with a level is exact
    start = grid.lo - mean
    removed = grid.lo - start
    lost = (grid.lo - (start + removed)) + (removed - mean)  # lo - mean = start + lost, exactly
    return (start + position * coarse) + (lost + position * float(exact - Fraction(coarse)))


def _thin_bin(centre: Tensor, half: Tensor) -> Tensor:
    """log(Phi(centre + half) - Phi(centre - half)) for half < 1/2 and half |centre| < 1.

    The density is integrated: the difference would cancel.
    """
    mean_ratio = torch.zeros_like(centre)  # of the density in the bin to that at its centre
    for node, weight in LEGENDRE:
        decay = torch.exp(-0.5 * (node * half).square())
        mean_ratio = mean_ratio + weight * decay * torch.cosh(node * centre * half)
    return torch.log(2 * half * mean_ratio) - 0.5 * (centre.square() + math.log(2 * math.pi))


def _wide_bin(high: Tensor, low: Tensor, fall: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)) for low < 0, where fall = (high^2 - low^2) / 2.

    In the tail by erfcx, which is Phi without its exponent, else as 1 less what lies outside.
    Not by torch's log_ndtr, whose gradient cancels: at -1e6 it is off by 1e-4, at -1e9 by all.
    """
    tail = high < 0
    z = torch.where(tail, -high, 0) / math.sqrt(2)
    ratio = torch.special.erfcx(z) - fall.exp() * torch.special.erfcx(-low / math.sqrt(2))
    outside = torch.erfc(torch.where(tail, 1, high) / math.sqrt(2)) + torch.erfc(
        -low / math.sqrt(2)
    )
    below = torch.log(0.5 * torch.where(tail, ratio, 1)) - z.square()
    return torch.where(tail, below, torch.log1p(-0.5 * outside))


@final
@dataclass(frozen=True)
class DiscretizedGaussian(Distribution):
    """N(mean, exp(log_var)) rounded to the grid: P(level k) = mass of k's bin, open at the ends."""

    mean: Batch
    log_var: Float[Tensor, "..."]
    grid: Grid

    def sample(self, noise: Noise) -> Batch:
        """The value of a level; NaN where the mean or the variance is, which has no level."""
        x = Gaussian(self.mean, self.log_var).sample(noise)
        return torch.where(x.isnan(), x, self.grid.values(self.grid.levels(x), x.dtype))

    def log_prob(self, x: Batch) -> Nats:
        """log P(x_0), nats per example; x holds grid values."""
        return log_mass(self.grid.levels(x), self.mean, self.log_var, self.grid).flatten(1).sum(1)


@final
@dataclass(frozen=True)
class LevelMasses(Distribution):
    """A categorical over the n levels of each dimension (axis 2), given by log masses."""

    log_masses: Float[Tensor, "B C n *inner"]
    grid: Grid

    def sample(self, noise: Noise) -> Batch:
        """The value of a level; NaN where a mass is, since no level is."""
        cumulative = self.log_masses.double().exp().cumsum(2)
        uniform = noise.uniform(cumulative[:, :, 0]) * cumulative[:, :, -1]
        level = (cumulative < uniform.unsqueeze(2)).sum(2)
        value = self.grid.values(level, self.log_masses.dtype)
        return value.masked_fill(uniform.isnan(), torch.nan)

    def log_prob(self, x: Batch) -> Nats:
        """log P(x_0), nats per example; x holds grid values."""
        level = self.grid.levels(x).unsqueeze(2)
        return self.log_masses.gather(2, level).flatten(1).sum(1)


@final
@dataclass(frozen=True)
class Prediction:
    """What the network says at (x_t, t): x0-hat, log V_t, and log p(level | x_t) if it has one.

    The last is computed when it is called: a step of the chain has no use for it.
    """

    x_0: Batch
    log_var: Float[Tensor, "..."]
    log_levels: Callable[[], Float[Tensor, "B C n *inner"]] | None = None


class Decoder(ABC):
    """The choice of p_theta(x_0 | x_1), made from the prediction at t = 1."""

    name: str

    @abstractmethod
    def __call__(self, prediction: Prediction) -> Distribution:
        """p_theta(x_0 | x_1); the mean of x_0 is x0-hat."""


@final
@dataclass(frozen=True)
class Discretized(Decoder):
    """N(x0-hat, V_1) rounded to the grid (Ho et al. 2020, eq. 13, with exact masses)."""

    grid: Grid
    name: str = "discretized-gaussian"

    def __call__(self, prediction: Prediction) -> Distribution:
        return DiscretizedGaussian(prediction.x_0, prediction.log_var, self.grid)


@final
@dataclass(frozen=True)
class LevelPosterior(Decoder):
    """The network's own distribution over levels at t = 1 (needs the levels parametrisation)."""

    grid: Grid
    name: str = "levels"

    def __call__(self, prediction: Prediction) -> Distribution:
        if prediction.log_levels is None:
            raise BadInput("the levels decoder needs the levels parametrization")
        return LevelMasses(prediction.log_levels(), self.grid)


@final
@dataclass(frozen=True)
class Density(Decoder):
    """N(x0-hat, V_1) as a density, for data declared continuous: nats, never bits of pixels."""

    name: str = "density"

    def __call__(self, prediction: Prediction) -> Distribution:
        return Gaussian(prediction.x_0, prediction.log_var)
