"""The variance V_t of p_theta(x_{t-1} | x_t): beta-tilde, beta, anything between, or any table.

V_1 belongs to the decoder p_theta(x_0 | x_1). Beta-tilde is 0 there, so V_1 is always an explicit
choice: the code bases of the field differ in it, and so do their numbers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard, final

from jaxtyping import Float, Float64
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.gaussian.parametrization import Output
from nelbo.gaussian.schedule import Schedule, at
from nelbo.types import Batch, Time

__all__ = [
    "V_1_RULES",
    "LearnedRange",
    "Tabulated",
    "Variance",
    "VarianceRule",
    "by_t",
    "default_V_1",
    "first_variance",
    "large",
    "learned_range",
    "small",
]

V_1_RULES = ("beta_1", "beta_tilde_2", "inverse_snr_1")


def default_V_1(schedule: Schedule) -> str:
    """inverse_snr_1 where log SNR was given, beta_tilde_2 (Ho et al. 2020) where betas were.

    Beta-tilde_2 goes to 0 as steps are put between the same two ends of log SNR, while what
    x_1 leaves open of x_0 stays what it is.
    """
    return "inverse_snr_1" if schedule.by_log_snr else "beta_tilde_2"


def first_variance(schedule: Schedule, V_1: float | str) -> float:
    """V_1 as a number: itself or by a rule.

    beta_1; beta_tilde_2, the posterior variance at t = 2 (Ho); inverse_snr_1, (1 - alpha_bar_1) /
    alpha_bar_1, the variance of x_0 as x_1 / sqrt(alpha_bar_1) measures it.

    Raises:
        BadInput: not positive, an unknown rule, or beta_tilde_2 of a chain with T = 1.
    """
    if isinstance(V_1, str):
        if V_1 not in V_1_RULES:
            raise BadInput(f"V_1 is a number or one of {', '.join(V_1_RULES)}; got {V_1!r}")
        if V_1 == "beta_1":
            return float(schedule.beta[1])
        if V_1 == "inverse_snr_1":
            return math.exp(-float(schedule.log_snr[1]))
        if schedule.T == 1:
            raise BadInput("V_1 = beta_tilde_2 needs T >= 2; use beta_1, inverse_snr_1 or a number")
        return float(schedule.posterior_variance[2])
    if not V_1 > 0:
        raise BadInput(f"V_1 must be positive; got {V_1}")
    return float(V_1)


class Variance(ABC):
    """V_t as a function of t and, where it is learned, of the network's output."""

    name: str
    outputs: int
    """Network channels per data channel, after the parametrisation's."""
    V_1: float

    @abstractmethod
    def log_var(self, output: Output, t: Time, x_0_hat: Batch) -> Float[Tensor, "..."]:
        """log V_t, broadcasting against x0-hat; output has `outputs` channels per data channel."""


VarianceRule: TypeAlias = Callable[[Schedule], Variance]
"""The variances of any schedule, such as a sub-chain's."""


@final
@dataclass(frozen=True, eq=False)
class Tabulated(Variance):
    """V_t from a table with an entry per t, or per t and dimension; entry 0 is not used."""

    name: str
    table: Float64[Tensor, "steps *dims"]
    outputs: int = 0

    @property
    def V_1(self) -> float:  # type: ignore[override]
        """The mean of the entry at t = 1."""
        return float(self.table[1].mean())

    def log_var(self, output: Output, t: Time, x_0_hat: Batch) -> Float[Tensor, "..."]:
        return at(self.table, t, x_0_hat).log()


def by_t(variance: Variance) -> TypeGuard[Tabulated]:
    """Whether V_t is a number for each t, whatever the dimension and the network's output."""
    return isinstance(variance, Tabulated) and variance.table.ndim == 1


def small(schedule: Schedule, V_1: float | str) -> Tabulated:
    """V_t = beta-tilde_t, the variance of q(x_{t-1} | x_t, x_0): right for data at one point."""
    table = schedule.posterior_variance.clone()
    table[1] = first_variance(schedule, V_1)
    return Tabulated("small", table)


def large(schedule: Schedule, V_1: float | str) -> Tabulated:
    """V_t = beta_t: right for data that are N(0, 1)."""
    table = schedule.beta.clone()
    table[1] = first_variance(schedule, V_1)
    return Tabulated("large", table)


@final
@dataclass(frozen=True, eq=False)
class LearnedRange(Variance):
    """log V_t = f log beta_t + (1 - f) log beta-tilde_t, f = (output + 1) / 2.

    At t = 1, where beta-tilde is 0, V_1 takes its place. f is not confined to [0, 1].
    Source: Nichol and Dhariwal 2021, eq. 15.
    """

    schedule: Schedule
    V_1: float
    name: str = "learned-range"
    outputs: int = 1

    def log_var(self, output: Output, t: Time, x_0_hat: Batch) -> Float[Tensor, "..."]:
        low = self.schedule.posterior_variance.clone()
        low[1] = self.V_1
        fraction = (output + 1) / 2
        log_low = at(low, t, x_0_hat).log()
        return fraction * at(self.schedule.beta, t, x_0_hat).log() + (1 - fraction) * log_low


def learned_range(schedule: Schedule, V_1: float | str) -> LearnedRange:
    """V_t between beta-tilde_t and beta_t, as the network says it."""
    return LearnedRange(schedule, first_variance(schedule, V_1))
