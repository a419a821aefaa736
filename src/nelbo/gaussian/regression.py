"""L_simple of a network on a path: the squared error of its output, at noise that is drawn.

The target of an output is linear in x_0 and the noise, so one loss is that of flow matching, of
EDM and of any other prediction: what tells them apart is the output and where over log SNR the
noise is drawn.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch

from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.log_snr import Points
from nelbo.gaussian.parametrization import Linear
from nelbo.gaussian.path import FunctionPath
from nelbo.types import Batch, Nats

__all__ = ["NoiseLevels", "even_in_time", "lognormal", "output_error"]

NoiseLevels: TypeAlias = Callable[[Points], Points]
"""log SNR of u, which is uniform on (0, 1)."""


def even_in_time(path: FunctionPath) -> NoiseLevels:
    """log SNR at the path's time, uniform from its data to its noise (Lipman et al. 2023)."""
    return partial(_at_time, path)


def _at_time(path: FunctionPath, u: Points) -> Points:
    return path.log_snr(path.data + (path.noise - path.data) * u)


def lognormal(mean: float, deviation: float) -> NoiseLevels:
    """log SNR = -2 ln sigma, ln sigma ~ N(mean, deviation^2).

    EDM has -1.2 and 1.2 (Karras et al. 2022, table 1). Of a flow ln sigma is logit(t), so this is
    the logit-normal time of Esser et al. 2024, section 3.1.

    Raises:
        BadInput: a deviation that is not positive.
    """
    if not deviation > 0:
        raise BadInput(f"the deviation of ln sigma must be positive; got {deviation}")
    return partial(_lognormal, mean, deviation)


def _lognormal(mean: float, deviation: float, u: Points) -> Points:
    log_sigma: Points = mean + deviation * torch.special.ndtri(u)
    return -2 * log_sigma


def output_error(model: ContinuousGaussian, x_0: Batch, log_snr: Points, noise: Noise) -> Nats:
    """|target - output|^2 at z_t of these log SNRs, summed over dimensions; not in nats, no bound.

    Of EDM's F it is lambda(sigma) |D - x_0|^2 with EDM's own lambda(sigma), 1 / c_out^2.

    Raises:
        BadInput: an output that is not linear in x_0 and the noise (levels).
    """
    if not isinstance(model.parametrization, Linear):
        raise BadInput(
            f"L_simple has no target for {model.parametrization.name}: train by the bound"
        )
    level = log_snr.to(x_0.device).reshape(-1, *(1,) * (x_0.ndim - 1))  # float64: rounded once
    a, s = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
    eps = noise.normal(x_0)
    output = model.output((a * x_0 + s * eps).to(x_0.dtype), log_snr)
    target = model.parametrization.target(x_0, eps, a, s).to(x_0.dtype)
    return (target - output).square().flatten(1).sum(1)
