"""q of DDPM: x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) noise, and what follows by conjugacy."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from nelbo.bound.chain import ForwardProcess
from nelbo.errors import BadInput
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.schedule import Schedule, at
from nelbo.types import Batch, Nats, Time

__all__ = ["GaussianForward"]


@final
@dataclass(frozen=True)
class GaussianForward(ForwardProcess[Gaussian]):
    """The forward chain of a schedule (Ho et al. 2020, eqs. 2, 4, 6 and 7)."""

    schedule: Schedule

    @property
    def T(self) -> int:
        return self.schedule.T

    def marginal(self, x_0: Batch, t: Time) -> Gaussian:
        """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t)."""
        mean = at(self.schedule.alpha_bar, t, x_0).sqrt() * x_0
        return Gaussian(mean, at(self.schedule.log_one_minus_alpha_bar, t, x_0))

    def step(self, x_prev: Batch, t: Time) -> Gaussian:
        """q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t)."""
        mean = at(self.schedule.alpha, t, x_prev).sqrt() * x_prev
        return Gaussian(mean, at(self.schedule.beta, t, x_prev).log())

    def posterior(self, x_t: Batch, x_0: Batch, t: Time) -> Gaussian:
        """q(x_{t-1} | x_t, x_0), Gaussian with the posterior mean and variance, t >= 2.

        Raises:
            BadInput: some t < 2, where it is a point mass.
        """
        if int(t.min()) < 2:
            raise BadInput(f"q(x_(t-1) | x_t, x_0) is a point mass at t = 1; got t = {t.tolist()}")
        log_var = at(self.schedule.posterior_variance, t, x_t).log()
        return Gaussian(self.posterior_mean(x_t, x_0, t), log_var)

    def posterior_mean(self, x_t: Batch, x_0: Batch, t: Time) -> Float[Tensor, "B *dims"]:
        """E[x_{t-1} | x_t, x_0], which at t = 1 is x_0 itself."""
        x_0_part = at(self.schedule.posterior_x_0, t, x_0) * x_0
        return x_0_part + at(self.schedule.posterior_x_t, t, x_t) * x_t

    def kl_of_error(self, error: Batch, log_var: Float[Tensor, "..."], t: Time) -> Nats:
        """KL(q(x_{t-1} | x_t, x_0) || N(posterior mean at x0-hat, exp(log_var))), t >= 2.

        error is x_0 - x0-hat. The same as the KL of the two Gaussians, without the difference of
        their means, in which the error is lost where it is small beside x_0.
        """
        log_posterior = at(self.schedule.posterior_variance, t, error).log()
        shift = at(self.schedule.posterior_x_0, t, error) * error
        return Gaussian(shift, log_posterior).kl(Gaussian(torch.zeros_like(shift), log_var))
