"""q of D3PM: states that change by Q_t, independently in each dimension, and Bayes' rule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from nelbo.bound.chain import ForwardProcess
from nelbo.categorical.dense import discretized_gaussian
from nelbo.categorical.distribution import Categorical
from nelbo.categorical.resampling import absorbing, uniform
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput
from nelbo.types import Batch, Time

__all__ = ["TRANSITIONS", "CategoricalForward"]

TRANSITIONS: dict[str, Callable[..., Transition]] = {
    "uniform": uniform,
    "absorbing": absorbing,
    "discretized-gaussian": discretized_gaussian,
}
"""Called with (betas, K) and the dtype of what is returned."""


@final
@dataclass(frozen=True)
class CategoricalForward(ForwardProcess[Categorical]):
    """The forward chain of a transition (Austin et al. 2021, section 3, eqs. 2 and 3)."""

    transition: Transition

    @property
    def T(self) -> int:
        return self.transition.T

    def marginal(self, x_0: Batch, t: Time) -> Categorical:
        """q(x_t | x_0) = Qbar_t[x_0, x_t]."""
        return Categorical(self.transition.log_row_bar(x_0, t))

    def step(self, x_prev: Batch, t: Time) -> Categorical:
        """q(x_t | x_{t-1}) = Q_t[x_{t-1}, x_t]."""
        return Categorical(self.transition.log_row(x_prev, t))

    def posterior(self, x_t: Batch, x_0: Batch, t: Time) -> Categorical:
        """q(x_{t-1} | x_t, x_0), Q_t[x_{t-1}, x_t] Qbar_{t-1}[x_0, x_{t-1}] normalised, t >= 2.

        NaN where x_t cannot come from x_0: there is nothing to condition on.

        Raises:
            BadInput: some t < 2, where it is a point mass.
        """
        if int(t.min()) < 2:
            raise BadInput(f"q(x_(t-1) | x_t, x_0) is a point mass at t = 1; got t = {t.tolist()}")
        log_joint = self.transition.log_column(x_t, t) + self.transition.log_row_bar(x_0, t - 1)
        return Categorical(torch.log_softmax(log_joint, dim=-1))
