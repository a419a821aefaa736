"""Two Markov chains: q(x_{1:T} | x_0) is fixed, p_theta(x_{0:T}) is learned.

Nothing here knows a family. A family gives the conditionals; the joint laws along a path
follow from them (memo, section "Two Markov chains"; Ho et al. 2020, eqs. 1 and 2).
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, final

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.bound.distribution import Distribution, StepDistribution
from nelbo.bound.noise import Noise
from nelbo.types import Batch, Nats, Time

__all__ = ["Chain", "Conditional", "ForwardProcess", "ReverseProcess", "constant_time"]

D = TypeVar("D", bound=StepDistribution, covariant=True)
C = TypeVar("C", bound="Conditional")


def constant_time(t: int, x: Batch) -> Time:
    """t for every example of x; times live on the CPU, where they are checked for free."""
    return torch.full((len(x),), t, dtype=torch.int64)


class ForwardProcess(ABC, Generic[D]):
    """q: the chain that destroys the data."""

    @property
    @abstractmethod
    def T(self) -> int:
        """The number of steps."""

    @abstractmethod
    def marginal(self, x_0: Batch, t: Time) -> D:
        """q(x_t | x_0), t = 1..T."""

    @abstractmethod
    def step(self, x_prev: Batch, t: Time) -> D:
        """q(x_t | x_{t-1}), t = 1..T."""

    @abstractmethod
    def posterior(self, x_t: Batch, x_0: Batch, t: Time) -> D:
        """q(x_{t-1} | x_t, x_0), t = 2..T; at t = 1 it is a point mass and L_0 takes its place."""

    def path(self, x_0: Batch, noise: Noise) -> list[Batch]:
        """[x_0, x_1, ..., x_T], drawn step by step from q(x_{1:T} | x_0)."""
        path = [x_0]
        for t in range(1, self.T + 1):
            time = constant_time(t, x_0)
            path.append(self.step(path[-1], time).sample(noise.at(time)))
        return path

    def log_prob(self, path: Sequence[Batch]) -> Nats:
        """log q(x_{1:T} | x_0) = sum over t of log q(x_t | x_{t-1}), in float64."""
        steps = zip(range(1, self.T + 1), path[:-1], path[1:], strict=True)
        scores = [self.step(x_prev, constant_time(t, x)).log_prob(x) for t, x_prev, x in steps]
        return torch.stack(scores).sum(0, dtype=torch.float64)


class Conditional:
    """What may be given c, one for each example: p_theta( . | c).

    Every line of the bound holds given c as without it, so nothing in this room says what c is.
    """

    condition: Sequence[Tensor] = ()

    def given(self: C, *condition: Tensor) -> C:
        """The same with these, a row of each for each example; itself where there are none."""
        if not condition:
            return self
        other = copy.copy(self)
        other.condition = condition
        return other

    def rows(self: C, index: Int64[Tensor, " R"]) -> C:
        """That of the given examples, in the way of `Noise.rows`."""
        return self.given(*(c[index] for c in self.condition))

    def condition_at(self, x: Batch) -> list[Tensor]:
        """The condition of each row of x, where x is.

        Raises:
            ValueError: it is that of other examples.
        """
        for c in self.condition:
            if len(c) != len(x):
                raise ValueError(f"a condition of {len(c)} examples for a batch of {len(x)}")
        return [c.to(x.device, non_blocking=True) for c in self.condition]


class ReverseProcess(Conditional, ABC, Generic[D]):
    """p_theta: the chain that makes data."""

    @abstractmethod
    def prior(self, x_0: Batch) -> D:
        """p(x_T), for examples shaped like x_0."""

    @abstractmethod
    def step(self, x_t: Batch, t: Time) -> D:
        """p_theta(x_{t-1} | x_t), t = 2..T."""

    @abstractmethod
    def decoder(self, x_1: Batch) -> Distribution:
        """p_theta(x_0 | x_1), a distribution over data."""

    def log_prob(self, path: Sequence[Batch]) -> Nats:
        """log p_theta(x_{0:T}) = log p(x_T) + sum over t of log p_theta(x_{t-1} | x_t), float64."""
        x_0, x_1, x_T = path[0], path[1], path[-1]
        scores = [self.prior(x_0).log_prob(x_T), self.decoder(x_1).log_prob(x_0)]
        for t, x_prev, x in zip(range(2, len(path)), path[1:-1], path[2:], strict=True):
            scores.append(self.step(x, constant_time(t, x)).log_prob(x_prev))
        return torch.stack(scores).sum(0, dtype=torch.float64)


@final
@dataclass(frozen=True)
class Chain(Generic[D]):
    """q and p_theta over the same latents; a type checker refuses two families in one chain."""

    q: ForwardProcess[D]
    p: ReverseProcess[D]

    def given(self, *condition: Tensor) -> "Chain[D]":
        """The chain whose p_theta is given these; q is what it is."""
        return replace(self, p=self.p.given(*condition))

    def rows(self, index: Int64[Tensor, " R"]) -> "Chain[D]":
        """The chain of the given examples."""
        return replace(self, p=self.p.rows(index))
