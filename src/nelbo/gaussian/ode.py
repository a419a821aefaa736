"""The probability-flow ODE along log SNR, and the log density that it gives a point.

On any Gaussian path x = z / sqrt(a^2 + s^2) has, at log SNR l and with alpha^2 = sigmoid(l),

    dx/dl = alpha/2 (x0-hat - alpha x),     d log p(x)/dl = -divergence of that,

so that log p at the data's end is log N(x; 0, 1) at the noise's end plus the integral of the
divergence from the one to the other (Song et al. 2021, "Score-Based Generative Modeling through
SDEs", section 4.3 and appendix D). x0-hat is what the model's chain has, clipping included.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.continuous import LikelihoodDecoded
from nelbo.gaussian.on_path import OnPath
from nelbo.gaussian.path import TablePath
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.rk45 import rk45
from nelbo.types import Batch, Nats

__all__ = ["TOLERANCE", "ExactTrace", "Hutchinson", "ProbabilityFlow", "Trace", "quadrature"]

FEWEST = 5  # steps, below which the two ends' weights would overlap
ENDS = (3 / 8, 7 / 6, 23 / 24)
TOLERANCE = 1e-5  # relative and absolute, of the published convention


class Trace(ABC):
    """tr J as the sum of v . J v over some directions v."""

    @abstractmethod
    def directions(self, place: int, like: Batch) -> Shaped[Tensor, "P B *dims"]:
        """Those of each example at the place-th point along the ODE."""

    @abstractmethod
    def calls(self, dims: int) -> int:
        """How many directions there are, each of which takes a backward pass."""


@final
@dataclass(frozen=True)
class ExactTrace(Trace):
    """Along each dimension: no error, and as many backward passes as there are dimensions."""

    def directions(self, place: int, like: Batch) -> Shaped[Tensor, "P B *dims"]:
        unit = torch.eye(like[0].numel(), dtype=like.dtype, device=like.device)
        return unit.reshape(-1, 1, *like.shape[1:]).expand(-1, *like.shape)

    def calls(self, dims: int) -> int:
        return dims


@final
@dataclass(frozen=True)
class Hutchinson(Trace):
    """E v . J v = tr J for v of independent signs (Hutchinson 1990): `count` of them at each point.

    fresh: others at each point, so that their errors average out along the path; kept ones give a
    smooth integrand, by which two numbers of steps are compared with little error. each: how many
    rows of `like` in a row belong to one row of the noise, and get the same signs.
    """

    noise: Noise
    count: int = 1
    fresh: bool = True
    each: int = 1

    def directions(self, place: int, like: Batch) -> Shaped[Tensor, "P B *dims"]:
        examples = len(like) // self.each
        number = torch.full((examples,), place if self.fresh else 0)
        noise = self.noise.at(number).draws(self.count)
        uniform = noise.uniform(like[:1].expand(examples * self.count, *like.shape[1:]))
        signs = torch.where(uniform < 0.5, -1.0, 1.0).to(like) / math.sqrt(self.count)
        grouped = signs.reshape(examples, self.count, *like.shape[1:]).transpose(0, 1)
        return grouped.repeat_interleave(self.each, dim=1)

    def calls(self, dims: int) -> int:
        return self.count


def quadrature(steps: int) -> Float[Tensor, " points"]:
    """Gregory's weights 3/8, 7/6, 23/24, 1, ..., 1, 23/24, 7/6, 3/8 of steps + 1 even points.

    Exact for cubics, and as exact as the trapezoid rule, beyond any order, for what is flat at both
    ends, as a divergence is where the data are resolved and where they are noise.

    Raises:
        BadInput: fewer than 5 steps.
    """
    if steps < FEWEST:
        raise BadInput(f"the ODE takes at least {FEWEST} steps; got {steps}")
    weights = torch.ones(steps + 1, dtype=torch.float64)
    ends = torch.tensor(ENDS, dtype=torch.float64)
    weights[:3] = ends
    weights[-3:] = ends.flip(0)
    return weights


@final
@dataclass(frozen=True, eq=False)
class ProbabilityFlow:
    """The ODE of a network between two log SNRs, its x0-hat read as the chain reads it."""

    reverse: GaussianReverse
    first: float
    last: float

    @classmethod
    def of(cls, p: object, name: str) -> "ProbabilityFlow":
        """That of a reverse process, from its log SNR at t = 1 to that at t = T.

        Raises:
            BadInput: there is none, for the reason that the message gives.
        """
        reverse = p.reverse.given(*p.condition) if isinstance(p, LikelihoodDecoded) else p
        if not isinstance(reverse, GaussianReverse):
            raise BadInput(
                f"{name} is no Gaussian chain: its states are levels, along which there is no ODE"
            )
        on_table = isinstance(reverse.network, OnPath) and isinstance(
            reverse.network.path, TablePath
        )
        if on_table or reverse.time_input is not TIME_INPUTS["log-snr"]:
            raise BadInput(
                f"the network of {name} knows the {reverse.q.schedule.whole_T:,} steps that it was "
                "trained on and no time between them, through which an ODE goes: its bound is what "
                "there is; a network that receives log SNR, or the time of a path, has an ODE"
            )
        first, last = (float(reverse.q.schedule.log_snr[t]) for t in (1, -1))
        if not math.isfinite(last):
            raise BadInput(
                f"the chain of {name} ends at log SNR -inf, which an ODE in log SNR does not "
                "reach: keep the steps before the last"
            )
        return cls(reverse, first, last)

    def rows(self, index: Int64[Tensor, " R"]) -> "ProbabilityFlow":
        """That of the given examples, where the network is given something of each."""
        return replace(self, reverse=self.reverse.rows(index))

    def drift(self, x: Batch, log_snr: float | Float64[Tensor, " B"]) -> Batch:
        """dx/dl at log SNR l, one or that of each row.

        Raises:
            BadInput: x wants a gradient and the network's output has none.
        """
        reverse, dtype = self.reverse, self.reverse.dtype(x.dtype)
        at = torch.as_tensor(log_snr, dtype=torch.float64, device=x.device).expand(len(x))
        time = at.clone() if isinstance(reverse.network, OnPath) else at.to(dtype).clone()
        output = reverse.network_output(x, time, dtype)
        if x.requires_grad and torch.is_grad_enabled() and not output.requires_grad:
            raise BadInput(
                "the network cannot be differentiated: its output carries no gradient of its "
                "input (integers, torch.no_grad or detach inside), and the ODE's density needs one"
            )
        prediction = output[:, : reverse.parametrization.outputs * x.shape[1]]
        level = at.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        alpha_bar, one_minus_alpha_bar = torch.sigmoid(level), torch.sigmoid(-level)
        given = (prediction, x, alpha_bar, one_minus_alpha_bar)
        x_0 = reverse.clipped(reverse.parametrization.x_0_given(*given))
        alpha = alpha_bar.sqrt()
        return 0.5 * alpha * (x_0 - alpha * x)

    def with_divergence(
        self,
        x: Batch,
        log_snr: float | Float64[Tensor, " B"],
        directions: Shaped[Tensor, "P B *dims"],
    ) -> tuple[Batch, Nats]:
        """(dx/dl, the sum over the directions v of v . J v, which is its divergence)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            drift = self.drift(x, log_snr)
            several = len(directions) > 1
            v = directions if several else directions[0]
            (product,) = torch.autograd.grad(drift, x, v, is_grads_batched=several)
        return drift.detach(), (product * v).reshape(len(directions), len(x), -1).sum((0, 2))

    def log_density(self, x: Batch, steps: int, trace: Trace) -> Nats:
        """log p(x) at the data's end, by `steps` even steps of Runge-Kutta 4 in log SNR; float64.

        The divergence is taken at the steps' ends: 4 steps + 1 forward passes, and steps + 1 times
        the trace's directions of backward ones. Both parts have order 4.

        Raises:
            BadInput: fewer than 5 steps.
        """
        h, weights = (self.last - self.first) / steps, quadrature(steps)
        x, integral = x.double(), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for place, weight in enumerate(weights.tolist()):
            log_snr = self.first + place * h
            k_1, divergence = self.with_divergence(x, log_snr, trace.directions(place, x))
            integral = integral + weight * h * divergence
            if place < steps:
                x = self._step(x, log_snr, h, k_1)
        return integral + _at_the_end(x)

    def adaptive_log_density(
        self, x: Batch, trace: Trace, tolerance: float = TOLERANCE
    ) -> tuple[Nats, Int64[Tensor, " B"]]:
        """(log p(x), evaluations of each row's drift) by RK45, as likelihoods are published.

        x and the integral of the divergence are one state, whose steps each row chooses by itself,
        with the trace's directions of place 0 kept along the path. The error is not known.

        Source: Song et al. 2021, "Score-Based Generative Modeling through SDEs", appendix D.2.

        Raises:
            BadInput: a row is not at its end after 10,000 evaluations.
        """
        shape, directions = x.shape[1:], trace.directions(0, x.double())

        def slope(rows: Tensor, log_snr: Tensor, y: Tensor) -> Tensor:
            at, v = y[:, :-1].reshape(-1, *shape), directions[:, rows]
            drift, divergence = self.rows(rows).with_divergence(at, log_snr, v)
            return torch.cat([drift.flatten(1), divergence[:, None]], 1)

        y = torch.cat([x.double().flatten(1), x.new_zeros(len(x), 1).double()], 1)
        end, evaluations = rk45(slope, y, self.first, self.last, tolerance)
        return end[:, -1] + _at_the_end(end[:, :-1]), evaluations

    def _step(self, x: Batch, log_snr: float, h: float, k_1: Batch) -> Batch:
        """The classical step of order 4, whose first slope is known."""
        with torch.no_grad():
            k_2 = self.drift(x + 0.5 * h * k_1, log_snr + 0.5 * h)
            k_3 = self.drift(x + 0.5 * h * k_2, log_snr + 0.5 * h)
            k_4 = self.drift(x + h * k_3, log_snr + h)
        return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def _at_the_end(x: Shaped[Tensor, "B *dims"]) -> Nats:
    """log N(x; 0, 1) of each row."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)
