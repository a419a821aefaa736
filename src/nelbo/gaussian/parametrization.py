"""What the network's output means: noise, data, v, score, velocity, EDM's F, or the data's levels.

Each parametrisation turns an output into x0-hat, the model's estimate of the data. All but that of
levels are linear in (x_0, eps), on any path: two weights say which.
A formula takes alpha_bar as numbers, from a schedule's table or from a log SNR in continuous time.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.gaussian.level import Level, Number
from nelbo.gaussian.path import Path
from nelbo.gaussian.schedule import Schedule, at
from nelbo.types import Batch, Grid, Time

__all__ = [
    "EPS",
    "PARAMETRIZATIONS",
    "SCORE",
    "X_0",
    "Levels",
    "Linear",
    "Output",
    "Parametrization",
    "V",
    "edm_F",
    "edm_v",
    "velocity",
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


Weights: TypeAlias = Callable[[Level], tuple[Number, Number]]


@final
@dataclass(frozen=True)
class Linear(Parametrization):
    """An output k x_0 + m eps, (k, m) = weights(level): with z = a x_0 + s eps, x0-hat = p z + r o,

        p = m / (a m - s k),    r = -s / (a m - s k).

    path: where z runs; without it a^2 + s^2 = 1, with a = sqrt(alpha_bar_t). The x_t of the methods
    is z / sqrt(a^2 + s^2) whatever the path, and a, s are those of x_t. The level that `weights`
    gets is the path's own, in float64.

    Raises:
        BadInput: a velocity without a path that knows its derivatives.
    """

    name: str
    weights: Weights
    path: Path | None = None
    outputs: int = 1

    def __post_init__(self) -> None:
        middle = torch.tensor(0.5, dtype=torch.float64).sqrt()
        self.weights_at(middle, middle)

    @property
    def divides(self) -> bool:
        """Whether x0-hat needs a division by a, which is 0 at zero terminal SNR."""
        one = torch.ones((), dtype=torch.float64)
        return self.path is None and float(self.weights(Level(0 * one, one))[0]) == 0

    def weights_at(self, a: Tensor, s: Tensor) -> tuple[Number, Number]:
        """(k, m) where x_t = a x_0 + s eps, in a's dtype."""
        if self.path is None:
            return self.weights(Level(a, s))
        k, m = self.weights(self.path.at(2 * (a.double().log() - s.double().log())))
        return torch.as_tensor(k).to(a), torch.as_tensor(m).to(a)

    def coefficients(self, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """(p, r): x0-hat = p x_t + r output."""
        k, m = self.weights_at(a, s)
        both = a * m - s * k
        return m / both, -s / both

    def target(self, x_0: Tensor, eps: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The output that is exactly right; shapes are broadcast."""
        k, m = self.weights_at(a, s)
        return k * x_0 + m * eps

    def estimate(self, x_t: Tensor, output: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """x0-hat."""
        p, r = self.coefficients(a, s)
        return p * x_t + r * output

    def x_0_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Batch:
        return self.estimate(x_t, output, alpha_bar.sqrt(), one_minus_alpha_bar.sqrt())

    def error(self, x_0: Tensor, eps: Tensor, output: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """x_0 - x0-hat = r (target - output) at x_t = a x_0 + s eps.

        So formed it keeps its digits where it is small beside x_0.
        """
        k, m = self.weights_at(a, s)  # once: on a path it is a search for the time
        r = -s / (a * m - s * k)
        return r * (k * x_0 + m * eps - output)

    def along(self, path: Path) -> "Linear":
        """The same output, of a network on that path."""
        return replace(self, path=path)


# Functions by name, not lambdas: a model that holds them can be pickled.
def _eps(level: Level) -> tuple[Number, Number]:
    return 0.0, 1.0


def _x_0(level: Level) -> tuple[Number, Number]:
    return 1.0, 0.0


def _v(level: Level) -> tuple[Number, Number]:
    return -level.s, level.a


def _score(level: Level) -> tuple[Number, Number]:
    return 0.0, -1 / level.s


def _velocity(level: Level) -> tuple[Number, Number]:
    return level.slopes


def _edm_F(sigma_data: float, level: Level) -> tuple[Number, Number]:
    size = (level.s * level.s + (sigma_data * level.a) * (sigma_data * level.a)) ** 0.5
    return level.s / (sigma_data * size), -sigma_data * level.a / size


EPS = Linear("eps", _eps)
X_0 = Linear("x_0", _x_0)
V = Linear("v", _v)  # Salimans and Ho 2022
SCORE = Linear("score", _score)  # the gradient of log q(z_t | x_0), -eps/s
PARAMETRIZATIONS = {p.name: p for p in (EPS, X_0, V)}


def edm_F(sigma_data: float = 0.5) -> Linear:
    """F of D = c_skip y + c_out F, y = z/a (Karras et al. 2022, table 1).

    Raises:
        BadInput: sigma_data, the standard deviation of the data, not positive.
    """
    if not 0 < sigma_data < math.inf:
        raise BadInput(f"sigma_data must be positive; got {sigma_data}")
    return Linear("edm-F", partial(_edm_F, sigma_data))


def _edm_v(sigma_data: float, level: Level) -> tuple[Number, Number]:
    k, m = _edm_F(sigma_data, level)
    return -k, -m


def edm_v(sigma_data: float = 1.0) -> Linear:
    """-F, what diffusers' EDM schedulers call v_prediction: v of z/sqrt(a^2 + s^2) at sigma_data 1.

    Raises:
        BadInput: sigma_data not positive.
    """
    return replace(edm_F(sigma_data), name="edm-v", weights=partial(_edm_v, sigma_data))


def velocity(path: Path) -> Linear:
    """u = dz/dt = a' x_0 + s' eps by the path's own time: flow matching (Lipman et al. 2023).

    Raises:
        BadInput: a path that does not know its derivatives.
    """
    return Linear("flow-velocity", _velocity, path)


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
