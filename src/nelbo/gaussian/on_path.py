"""What a network on a path receives: z by its own scaling, and the path's own time."""

from collections.abc import Callable
from typing import TypeAlias, final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from nelbo.gaussian.level import Level, Number
from nelbo.gaussian.path import Path

__all__ = ["SCALES", "TIMES", "OnPath", "Reading", "c_in"]

Reading: TypeAlias = Callable[[Level], Number]
"""What is made of a level for the network: its time, or the factor of z."""


@final
class OnPath(nn.Module):
    """A network of (scale(level) z, time(level)) as one of (x_t, log SNR), x_t = z/sqrt(a^2 + s^2).

    Both are formed in the digits of x_t and log SNR, float32 at least, and rounded once, to the
    dtype of the network's weights. What else is given goes through.
    """

    def __init__(self, network: nn.Module, path: Path, *, time: Reading, scale: Reading) -> None:
        super().__init__()
        self.network = network
        self.path = path
        self.time = time
        self.scale = scale

    def forward(
        self,
        x_t: Shaped[Tensor, "B ..."],
        log_snr: Shaped[Tensor, " B"],
        *given: Shaped[Tensor, "B ..."],
    ) -> Tensor:
        weights = (weight.dtype for weight in self.network.parameters())
        dtype = next((dtype for dtype in weights if dtype.is_floating_point), x_t.dtype)
        level = self.path.at(log_snr.double())
        factor = torch.as_tensor(self.scale(level) * level.norm)
        z = factor.to(x_t).reshape(-1, *(1,) * (x_t.ndim - 1)) * x_t
        time = torch.as_tensor(self.time(level)).to(z.device, dtype).expand(len(z))
        output: Tensor = self.network(z.to(dtype), time, *given)
        return output


# Functions by name, not lambdas: a model that holds them can be pickled.
def _own(level: Level) -> Number:
    if level.time is None:
        raise ValueError("a level of no path has no time")
    return level.time


def _1000_t(level: Level) -> Number:
    return 1000 * _own(level)


def _999_t(level: Level) -> Number:
    return 999 * _own(level)


def _1_minus_t(level: Level) -> Number:
    return 1 - _own(level)


def _sigma(level: Level) -> Number:
    return level.sigma


def _log_sigma(level: Level) -> Number:
    return torch.as_tensor(level.sigma).log()


def _log_sigma_quarter(level: Level) -> Number:
    return _log_sigma(level) / 4


def _log_half_sigma(level: Level) -> Number:
    return torch.as_tensor(level.sigma / 2).log()


def _log_snr(level: Level) -> Number:
    return -2 * _log_sigma(level)


TIMES: dict[str, Reading] = {
    "t": _own,
    "1000 t": _1000_t,
    "999 t": _999_t,
    "1 - t": _1_minus_t,
    "sigma": _sigma,
    "log(sigma)": _log_sigma,
    "log(sigma)/4": _log_sigma_quarter,
    "log(sigma/2)": _log_half_sigma,
    "log-snr": _log_snr,
}
"""What a network receives as its time: t is the path's own, sigma is s/a."""


def _none(level: Level) -> Number:
    return 1.0


def _unit(level: Level) -> Number:
    return 1 / level.norm


def c_in(sigma_data: float, level: Level) -> Number:
    """1/sqrt(s^2 + a^2 sigma_data^2): c_in of z/a, for z (Karras et al. 2022, table 1)."""
    return (level.s * level.s + (sigma_data * level.a) * (sigma_data * level.a)) ** -0.5


SCALES: dict[str, Reading] = {"none": _none, "unit": _unit}
"""The factor of z: none, or 1/sqrt(a^2 + s^2), by which it keeps its variance."""
