"""A decoder that is often computed wrongly, kept here to be shown to be wrong; nothing uses it."""

import math

import torch

from nelbo.bound.distribution import Distribution
from nelbo.derivation import Line, Mistake, Relation
from nelbo.gaussian.decoder import DiscretizedGaussian
from nelbo.types import Batch, Nats

__all__ = ["CLAMPED", "clamped_log_prob"]

FLOOR = 1e-12


def clamped_log_prob(decoder: Distribution, x_0: Batch) -> Nats | None:
    """log p_theta(x_0 | x_1) with Phi(z) taken for (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2.

    And every mass below 1e-12 taken for 1e-12, as in the code that much of the field started from
    (Ho et al. 2020; Nichol and Dhariwal 2021, `losses.py`). None where the decoder is no
    Gaussian rounded to a grid.
    """
    if not isinstance(decoder, DiscretizedGaussian):
        return None
    grid = decoder.grid
    levels = grid.levels(x_0)
    deviation = torch.exp(-0.5 * decoder.log_var)
    upper = _tanh_cdf((x_0 - decoder.mean + grid.spacing / 2) * deviation)
    lower = _tanh_cdf((x_0 - decoder.mean - grid.spacing / 2) * deviation)
    mass = torch.where(levels == 0, upper, upper - lower)
    mass = torch.where(levels == grid.n - 1, 1 - lower, mass)
    return torch.clamp(mass, min=FLOOR).log().flatten(1).sum(1)


def _tanh_cdf(z: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


CLAMPED = Mistake(
    Line(
        "F6",
        "D11 with a tanh for Phi in p(x_0|x_1), and masses clamped at 1e-12",
        r"\mathbb{E}_q\left[L_T+\sum_{t=2}^{T}L_{t-1}"
        r"-\log\max\left(\tilde{p}_\theta(x_0|x_1),10^{-12}\right)\right]",
        "an approximate, clamped bin mass: masses that do not add up to 1 are no code",
        Relation.FALSE,
        "no bin is in a tail and no clamp acts",
        inside=lambda f: f.prior_kl + f.kl[2:].sum(0) - f.misread["F6"],
        rival="D11",
    ),
    clamped_log_prob,
)
"""The tanh approximation of the discretised Gaussian, as a false line."""
