"""How a state becomes another: the matrices Q_t of a chain over K states, and their products.

Q_t[i, j] = q(x_t = j | x_{t-1} = i), t = 1..T, and Qbar_t = Q_1 Q_2 ... Q_t, so that
Qbar_t[i, j] = q(x_t = j | x_0 = i). A chain asks for rows and columns at the states it is in and
for mixtures of rows, so no K x K matrix per dimension ever arises. What a transition does not
decide: p(x_T), the reverse chain, and what the network receives about t.
Source: Austin et al. 2021, "Structured denoising diffusion models in discrete state-spaces" (D3PM).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.types import Time

__all__ = ["ROW_SUM", "LogMasses", "States", "Transition", "check_betas", "wrong_beta"]

States: TypeAlias = Int64[Tensor, "B *dims"]
"""A state 0..K-1 for each dimension of each example."""

LogMasses: TypeAlias = Float[Tensor, "B *dims K"]
"""log of K masses for each dimension."""

ROW_SUM = 1e-12
"""How far from 1 a row of probabilities may add up to."""


class Transition(ABC):
    """Q_1..Q_T and their products, read by row, by column and in mixture.

    Tables are float64; what is returned has `dtype`, and is on the device of the states. `kept`
    holds, for a sub-chain, the step of the whole chain that each step ends in (else 1..T), and
    `whole_T` the length of the whole.
    """

    dtype: torch.dtype
    kept: Int64[Tensor, " T"]
    whole_T: int

    @property
    @abstractmethod
    def K(self) -> int:
        """The number of states."""

    @property
    @abstractmethod
    def T(self) -> int:
        """The number of steps."""

    @abstractmethod
    def log_row(self, x: States, t: Time) -> LogMasses:
        """log Q_t[x, :] = log q(x_t | x_{t-1} = x)."""

    @abstractmethod
    def log_column(self, x: States, t: Time) -> LogMasses:
        """log Q_t[:, x] = log q(x_t = x | x_{t-1}), the likelihood of each x_{t-1}."""

    @abstractmethod
    def log_row_bar(self, x: States, t: Time) -> LogMasses:
        """log Qbar_t[x, :] = log q(x_t | x_0 = x)."""

    @abstractmethod
    def log_column_bar(self, x: States, t: Time) -> LogMasses:
        """log Qbar_t[:, x] = log q(x_t = x | x_0), the likelihood of each x_0."""

    @abstractmethod
    def log_mix_bar(self, log_weights: LogMasses, t: Time) -> LogMasses:
        """log (w Qbar_t), the law of x_t where x_0 is drawn from w; with a gradient in log w."""

    @abstractmethod
    def subchain(self, steps: Sequence[int]) -> "Transition":
        """The chain that visits only the given t of this one, a chain of its own.

        Its matrices are products over what is skipped, so its Qbar are this chain's at the kept t.

        Raises:
            BadInput: the steps are not increasing within 1..T, or none is given.
        """

    def _settle(self) -> None:
        """Refuses a chain of no steps or of one state; the steps of a whole chain are 1..T."""
        if self.T < 1 or self.K < 2:
            raise BadInput(
                "a transition needs at least one step and two states; "
                f"got T = {self.T} and K = {self.K}"
            )
        if self.kept is None:
            object.__setattr__(self, "kept", torch.arange(1, self.T + 1))
            object.__setattr__(self, "whole_T", self.T)


def check_betas(betas: Sequence[float]) -> None:
    """All in (0, 1), but beta_T may be 1.

    Raises:
        BadInput: the first that is not, with its t.
    """
    for t, beta in enumerate(betas, start=1):
        if not (0 < beta < 1 or (beta == 1 and t == len(betas))):
            raise wrong_beta(t, float(beta))


def wrong_beta(t: int, beta: float) -> BadInput:
    """The error that names beta_t."""
    return BadInput(f"beta must lie in (0, 1), or be 1 at t = T; got beta[{t}] = {beta}")
