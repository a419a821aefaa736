"""Paths z_t = a_t x_0 + s_t eps along a network's own time: VP, sub-VP, VE, EDM, flow matching.

z -> z / sqrt(a^2 + s^2) is one to one at each t, and no KL changes under it. With the Markov chain
q(z_t | z_s) = N(a_t/a_s z_s, s_t^2 - (a_t/a_s)^2 s_s^2) a path is therefore the chain of
`from_log_snr` at log SNR = log(a^2/s^2), with the same L_T, L_{t-1} and L_0: Kingma et al. 2021,
"Variational Diffusion Models", section 3 and appendix G. What tells paths apart is what the network
receives, z and its own time, and what its output means.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.gaussian.level import Level, Times

__all__ = [
    "PATHS",
    "FunctionPath",
    "Path",
    "TablePath",
    "cosine_path",
    "edm",
    "flow",
    "sub_vp",
    "ve",
    "vp_sde",
]

Function: TypeAlias = Callable[[Times], Times]

CHECKED = 1001  # points of a path of somebody's functions at which it has to make sense
HALVINGS = 80  # of the range of time, after which float64 tells no two points apart


class Path(ABC):
    """A path by log SNR, which falls from its data end to its noise end."""

    name: str

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """log SNR at the data end and at the noise end; either may be infinite."""

    @abstractmethod
    def at(self, log_snr: Times) -> Level:
        """The point of the path with this log SNR, in float64."""


@final
@dataclass(frozen=True, eq=False)
class FunctionPath(Path):
    """a(t), s(t) in float64 between the time of the data and that of the noise.

    Time goes from `data` to `noise`, either of which may be the larger.
    `inverse` gives the time of a log SNR; without it the time is found by halving the range.
    Derivatives are torch's own, of the functions.

    Raises:
        BadInput: functions that give no float64 tensor of the times' shape, a negative or NaN a or
            s, or a log SNR that does not fall all the way.
    """

    name: str
    a: Function
    s: Function
    data: int | float
    noise: int | float
    inverse: Function | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.data) and math.isfinite(self.noise) and self.data != self.noise):
            raise BadInput(
                f"path {self.name}: time runs between two different finite ends; got {self.data} "
                f"and {self.noise}"
            )
        t = torch.linspace(self.data, self.noise, CHECKED, dtype=torch.float64)
        for name, function in (("alpha", self.a), ("sigma", self.s)):
            value = function(t)
            alike = isinstance(value, Tensor) and (value.shape, value.dtype) == (t.shape, t.dtype)
            if not alike or not (value >= 0).all():
                raise BadInput(
                    f"path {self.name}: {name} must be a function of a float64 tensor of times "
                    "that gives one number, not negative, for each, in float64 too"
                )
        rises = (self.log_snr(t).diff() >= 0).nonzero()
        if len(rises):
            raise BadInput(
                f"path {self.name}: log(alpha^2/sigma^2) must fall from the data at t = "
                f"{self.data:g} to the noise at t = {self.noise:g}, and does not after t = "
                f"{float(t[rises[0]]):g}: is the direction of time another?"
            )

    def log_snr(self, t: Times) -> Times:
        """2 log(a/s)."""
        return 2 * (self.a(t).log() - self.s(t).log())

    @property
    def ends(self) -> tuple[float, float]:
        first, last = self.log_snr(torch.tensor([self.data, self.noise]).double()).tolist()
        return first, last

    def time_of(self, log_snr: Times) -> Times:
        """The time at which the path has this log SNR; an end where it has it nowhere."""
        if self.inverse is not None:
            return self.inverse(log_snr)
        before, after = (torch.full_like(log_snr, end) for end in (self.data, self.noise))
        for _ in range(HALVINGS):
            middle = 0.5 * (before + after)
            early = self.log_snr(middle) > log_snr
            before, after = torch.where(early, middle, before), torch.where(early, after, middle)
        return 0.5 * (before + after)

    def at(self, log_snr: Times) -> Level:
        t = self.time_of(log_snr.double())
        return Level(self.a(t), self.s(t), t, self.slopes)

    def slopes(self, t: Times) -> tuple[Times, Times]:
        """(da/dt, ds/dt)."""
        return _slope(self.a, t), _slope(self.s, t)

    def reversed(self) -> "FunctionPath":
        """The same path, its time counted from the other end: the data are at t = `noise`."""
        over = partial(_from_the_other_end, self.data + self.noise)
        return FunctionPath(
            f"{self.name}, reversed",
            partial(_after, self.a, over),
            partial(_after, self.s, over),
            self.noise,
            self.data,
            partial(_after, over, self.time_of),
        )


@final
@dataclass(frozen=True, eq=False)
class TablePath(Path):
    """a_i, s_i of the steps that a network knows, the one nearest to the data first.

    Tables are float64 tensors of one length. time: what the network calls each step; default 0, 1,
    ... . A log SNR is taken for that of the nearest step. a_slope, s_slope: the derivatives by that
    time, where a velocity is read.

    Raises:
        BadInput: tables of several lengths, numbers that are no a or s, log SNRs that do not fall.
    """

    name: str
    a: Tensor
    s: Tensor
    time: Tensor
    a_slope: Tensor | None = None
    s_slope: Tensor | None = None

    def __post_init__(self) -> None:
        tables = (self.a, self.s, self.time, self.a_slope, self.s_slope)
        if len({tuple(table.shape) for table in tables if table is not None}) > 1:
            raise BadInput(f"path {self.name}: its tables must have one number for each step")
        if not (self.a.ndim == 1 and len(self.a) > 1 and (self.a > 0).all() and (self.s > 0).all()):
            raise BadInput(
                f"path {self.name}: alpha and sigma are tables of at least two positive numbers"
            )
        if not (self.log_snr.diff() < 0).all():
            raise BadInput(
                f"path {self.name}: log(alpha^2/sigma^2) must fall along the tables, from the step "
                "nearest to the data to that of most noise"
            )

    @property
    def log_snr(self) -> Float64[Tensor, " steps"]:
        """2 log(a/s) of each step."""
        return 2 * (self.a.log() - self.s.log())

    @property
    def ends(self) -> tuple[float, float]:
        return float(self.log_snr[0]), float(self.log_snr[-1])

    def at(self, log_snr: Times) -> Level:
        middles = 0.5 * (self.log_snr[1:] + self.log_snr[:-1])
        step = torch.bucketize(-log_snr.double(), (-middles).to(log_snr.device))
        a, s, time = (table.to(log_snr.device)[step] for table in (self.a, self.s, self.time))
        if self.a_slope is None or self.s_slope is None:
            return Level(a, s, time)
        slopes = (self.a_slope.to(step.device)[step], self.s_slope.to(step.device)[step])
        return Level(a, s, time, lambda t: slopes)


def _slope(function: Function, t: Times) -> Times:
    """The derivative, also within an evaluation, which keeps no gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        t = t.detach().clone().requires_grad_()
        value = function(t).sum()
        if not value.requires_grad:  # a constant
            return torch.zeros_like(t).detach()
        (slope,) = torch.autograd.grad(value, t, materialize_grads=True)
    return slope


# Functions by name, not lambdas: a model that holds them can be pickled.
def _after(second: Function, first: Function, t: Times) -> Times:
    return second(first(t))


def _from_the_other_end(both: float, t: Times) -> Times:
    return both - t


def _sigma(log_snr: Times) -> Times:  # s/a
    return (-0.5 * log_snr).exp()


def vp_sde(beta_min: float = 0.1, beta_max: float = 20.0) -> FunctionPath:
    """a = exp(-B/2), s^2 = 1 - exp(-B), B = beta_min t + (beta_max - beta_min) t^2/2, t in [0, 1].

    Source: Song et al. 2021, "Score-Based Generative Modeling through SDEs", eqs. 29 and 33.
    """
    B, inverse = _integral("vp-sde", beta_min, beta_max)
    return FunctionPath(
        "vp-sde", partial(_vp_a, B), partial(_vp_s, B), 0.0, 1.0, partial(_vp_time, inverse)
    )


def sub_vp(beta_min: float = 0.1, beta_max: float = 20.0) -> FunctionPath:
    """a = exp(-B/2), s = 1 - exp(-B), B as in `vp_sde`: less noise than keeps the variance.

    Source: Song et al. 2021, eq. 29.
    """
    B, inverse = _integral("sub-vp", beta_min, beta_max)
    return FunctionPath(
        "sub-vp", partial(_vp_a, B), partial(_sub_vp_s, B), 0.0, 1.0, partial(_sub_time, inverse)
    )


def _integral(name: str, beta_min: float, beta_max: float) -> tuple[Function, Function]:
    """B(t), and t of B."""
    if not 0 < beta_min <= beta_max < math.inf:
        raise BadInput(f"{name} needs 0 < beta_min <= beta_max; got {beta_min} and {beta_max}")
    rise = beta_max - beta_min
    return partial(_B, beta_min, rise), partial(_time_of_B, beta_min, rise)


def _B(beta_min: float, rise: float, t: Times) -> Times:
    return beta_min * t + 0.5 * rise * t * t


def _time_of_B(beta_min: float, rise: float, B: Times) -> Times:
    return 2 * B / (beta_min + (beta_min**2 + 2 * rise * B).sqrt())


def _vp_a(B: Function, t: Times) -> Times:
    return (-0.5 * B(t)).exp()


def _vp_s(B: Function, t: Times) -> Times:
    return (-torch.expm1(-B(t))).sqrt()


def _vp_time(inverse: Function, log_snr: Times) -> Times:
    return inverse(torch.nn.functional.softplus(-log_snr))  # SNR = 1/(exp(B) - 1)


def _sub_vp_s(B: Function, t: Times) -> Times:
    return -torch.expm1(-B(t))


def _sub_time(inverse: Function, log_snr: Times) -> Times:
    # a^2 + g a = 1, whose root is formed without a difference
    g = _sigma(log_snr)
    a = 2 / (g + (g * g + 4).sqrt())
    return inverse(torch.where(g < 1, -torch.log1p(-g * a), -2 * a.log()))


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0) -> FunctionPath:
    """a = 1, s = sigma_min (sigma_max/sigma_min)^t, t in [0, 1] (Song et al. 2021, eq. 30)."""
    _of_sigmas("ve", sigma_min, sigma_max)
    log_min, rise = math.log(sigma_min), math.log(sigma_max / sigma_min)
    return FunctionPath(
        "ve",
        torch.ones_like,
        partial(_geometric, log_min, rise),
        0.0,
        1.0,
        partial(_geometric_time, log_min, rise),
    )


def _geometric(log_min: float, rise: float, t: Times) -> Times:
    return (log_min + rise * t).exp()


def _geometric_time(log_min: float, rise: float, log_snr: Times) -> Times:
    return (-0.5 * log_snr - log_min) / rise


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0) -> FunctionPath:
    """a = 1, s = t = sigma (Karras et al. 2022, table 1)."""
    _of_sigmas("edm", sigma_min, sigma_max)
    return FunctionPath("edm", torch.ones_like, torch.clone, sigma_min, sigma_max, _sigma)


def _of_sigmas(name: str, sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise BadInput(f"{name} needs 0 < sigma_min < sigma_max; got {sigma_min} and {sigma_max}")


def flow(data_at: int = 0) -> FunctionPath:
    """a = 1 - t, s = t, t in [0, 1], the data at t = 0; with data_at = 1, a = t and s = 1 - t.

    Lipman et al. 2023, "Flow Matching", have 1, diffusers 0.
    """
    path = FunctionPath("flow", _rest, torch.clone, 0.0, 1.0, _flow_time)
    return _directed(path, data_at)


def cosine_path(data_at: int = 0) -> FunctionPath:
    """a = cos(pi t/2), s = sin(pi t/2), the data at t = data_at (Albergo et al. 2023; GVP)."""
    return _directed(FunctionPath("cosine", _cosine_a, _cosine_s, 0.0, 1.0, _cosine_time), data_at)


def _directed(path: FunctionPath, data_at: int) -> FunctionPath:
    if data_at not in (0, 1):
        raise BadInput(f"{path.name}: data_at is 0 or 1, the time of the data; got {data_at}")
    return path.reversed() if data_at else path


def _rest(t: Times) -> Times:
    return 1 - t


def _flow_time(log_snr: Times) -> Times:
    return torch.sigmoid(-0.5 * log_snr)


def _cosine_a(t: Times) -> Times:
    return torch.sin(0.5 * math.pi * (1 - t))  # has its digits at t = 1


def _cosine_s(t: Times) -> Times:
    return torch.sin(0.5 * math.pi * t)


def _cosine_time(log_snr: Times) -> Times:
    return torch.atan(_sigma(log_snr)) * (2 / math.pi)


PATHS: dict[str, Callable[..., FunctionPath]] = {
    "vp-sde": vp_sde,
    "sub-vp": sub_vp,
    "ve": ve,
    "edm": edm,
    "flow": flow,
    "cosine": cosine_path,
}
